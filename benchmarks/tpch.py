"""TPC-H with DuckDB: `make` writes the tables as CSV; `ask` runs the queries on the lake and on the same rows freshly written as Parquet.

argv: make EXTENSION SCALE FOLDER, or ask EXTENSION CATALOG FOLDER ROUNDS. ask prints a line of JSON; a query whose answers differ is an error.
"""

import json
import resource
import sys
import sysconfig
import time

import duckdb

TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def connect(extension):
    con = duckdb.connect()
    packages = sysconfig.get_path("purelib")
    files = [f"{extension}/duckdb_extension_tpch/extensions/v{duckdb.__version__}/tpch.duckdb_extension"]
    files += [f"{packages}/duckdb_extension_{n}/extensions/v{duckdb.__version__}/{n}.duckdb_extension" for n in ("httpfs", "avro", "iceberg")]
    for file in files:
        con.execute(f"LOAD {literal(file)}")
    con.execute("SET threads = 2")
    return con


def make(extension, scale, folder):
    con = connect(extension)
    con.execute(f"CALL dbgen(sf = {float(scale)})")
    for table in TABLES:
        con.execute(f"COPY {table} TO {literal(f'{folder}/{table}.csv')} (FORMAT csv, HEADER false)")


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(con, schema, sql):
    """Seconds, CPU-seconds and rows of one query."""
    con.execute(f"USE {schema}")
    began, before = time.perf_counter(), cpu()
    rows = con.execute(sql).fetchall()
    return time.perf_counter() - began, cpu() - before, rows


def near(a, b):
    """Means of doubles come out a little different in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1)
    return a == b


def same(a, b):
    return len(a) == len(b) and all(near(x, y) for r, s in zip(a, b) for x, y in zip(r, s))


def ask(extension, catalog, folder, rounds):
    con = connect(extension)
    con.execute(f"ATTACH 'app' AS lake (TYPE iceberg, ENDPOINT {literal(catalog)}, AUTHORIZATION_TYPE 'none')")
    con.execute("ATTACH ':memory:' AS fresh")
    for table in TABLES:
        file = f"{folder}/{table}.parquet"
        con.execute(f"COPY (FROM lake.public.{table}) TO {literal(file)} (FORMAT parquet, CODEC zstd, COMPRESSION_LEVEL 1)")
        con.execute(f"CREATE VIEW fresh.{table} AS FROM read_parquet({literal(file)})")
    out = []
    for number, sql in con.execute("SELECT query_nr, query FROM tpch_queries() ORDER BY query_nr").fetchall():
        took = {"lake.public": [], "fresh.main": []}
        answers = {}
        for turn in range(int(rounds)):
            for schema in sorted(took, reverse=turn % 2 == 1):
                seconds, used, answers[schema] = run(con, schema, sql)
                took[schema].append((seconds, used))
        if not same(*answers.values()):
            raise SystemExit(f"query {number} has other rows from the lake than from the Parquet written of it")
        best = {schema: [min(column) for column in zip(*runs)] for schema, runs in took.items()}
        out.append({
            "query": number, "rows": len(answers["lake.public"]),
            "lake_s": round(best["lake.public"][0], 4), "fresh_s": round(best["fresh.main"][0], 4),
            "lake_cpu_s": round(best["lake.public"][1], 4), "fresh_cpu_s": round(best["fresh.main"][1], 4),
        })
    print(json.dumps(out))


{"make": make, "ask": ask}[sys.argv[1]](*sys.argv[2:])
