"""Reads every table of some warehouses with PyIceberg and with DuckDB, and prints what they saw as JSON.

argv: the catalog's URL, then warehouse names.
"""
import glob, json, os, sys

import duckdb
from pyiceberg.catalog import load_catalog


# Which the catalog of these tests asks for.
TOKEN = "engines-token-0123456789"


def rows(arrow):
    return sorted(arrow.to_pylist(), key=lambda r: json.dumps(r, sort_keys=True, default=str))


def pyiceberg(url, warehouse, snapshots):
    out = {}
    cat = load_catalog("tarn", type="rest", uri=url, warehouse=warehouse, token=TOKEN)
    for ns in cat.list_namespaces():
        for ident in cat.list_tables(ns):
            t = cat.load_table(ident)
            assert cat.table_exists(ident)
            history = {
                str(s.snapshot_id): t.scan(snapshot_id=s.snapshot_id).to_arrow().num_rows for s in t.metadata.snapshots
            }
            snapshots["\x1f".join(ident)] = [s.snapshot_id for s in t.metadata.snapshots]
            out["\x1f".join(ident)] = {
                "columns": [f.name for f in t.schema().fields],
                "rows": rows(t.scan().to_arrow()),
                "history": [history[str(s.snapshot_id)] for s in t.metadata.snapshots],
                "lsn": t.current_snapshot().summary["tarn.lsn"],
            }
    assert not cat.table_exists(("public", "no such table"))
    try:
        cat.create_namespace("x")
        raise AssertionError("a namespace was created")
    except Exception as e:
        assert "PostgreSQL" in str(e), repr(e)
    return out


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def attach(url, warehouse):
    con = duckdb.connect()
    site = os.path.dirname(os.path.dirname(duckdb.__file__))
    for ext in ("httpfs", "avro", "iceberg"):
        found = glob.glob(f"{site}/duckdb_extension_{ext}/extensions/*/{ext}.duckdb_extension")
        con.execute(f"LOAD '{found[0]}'")
    con.execute(f"CREATE SECRET lake (TYPE iceberg, TOKEN '{TOKEN}')")
    con.execute(f"ATTACH '{warehouse}' AS lake (TYPE iceberg, ENDPOINT '{url}', SECRET lake)")
    return con


def duck(url, warehouse, snapshots):
    out = {}
    con = attach(url, warehouse)
    tables = con.execute(
        "select table_schema, table_name from information_schema.tables where table_catalog = 'lake'"
    ).fetchall()
    for ns, name in tables:
        rel = f"lake.{quoted(ns)}.{quoted(name)}"
        arrow = con.execute(f"select * from {rel}").to_arrow_table()
        out[ns + "\x1f" + name] = {
            "columns": arrow.column_names,
            "rows": rows(arrow),
            "history": [
                con.execute(f"select count(*) from {rel} at (version => {s})").fetchone()[0]
                for s in snapshots[ns + "\x1f" + name]
            ],
        }
    return out


result = {}
for w in sys.argv[2:]:
    ids = {}
    result[w] = {"pyiceberg": pyiceberg(sys.argv[1], w, ids), "duckdb": duck(sys.argv[1], w, ids)}
print(json.dumps(result, default=str))
