"""Reads tables through DuckDB's iceberg extension, attached to the REST catalog."""

import os
import sysconfig

import duckdb

import canon
import sqlreader
from sqlreader import text_literal as literal


def secret(env):
    """The store's key; the catalog has told where the store is, but DuckDB takes that from the secret too."""
    options = {
        "TYPE": "s3", "KEY_ID": literal(env["AWS_ACCESS_KEY_ID"]), "SECRET": literal(env["AWS_SECRET_ACCESS_KEY"]),
        "REGION": literal(env.get("AWS_REGION", "us-east-1")),
    }
    endpoint = env.get("AWS_ENDPOINT_URL")
    if endpoint:
        scheme, _, host = endpoint.partition("://")
        options |= {"ENDPOINT": literal(host), "URL_STYLE": "'path'", "USE_SSL": str(scheme == "https").lower()}
    return "CREATE SECRET (" + ", ".join(f"{k} {v}" for k, v in options.items()) + ")"


class Reader(sqlreader.SQLReader):
    def __init__(self):
        self.con = duckdb.connect()
        packages = sysconfig.get_path("purelib")
        for name in ("httpfs", "avro", "iceberg"):
            path = f"{packages}/duckdb_extension_{name}/extensions/v{duckdb.__version__}/{name}.duckdb_extension"
            # Without the wheels the engine looks where the user has installed the extension.
            self.con.execute(f"LOAD {literal(path) if os.path.exists(path) else name}")
        self.con.execute("SET TimeZone = 'UTC'")
        self.con.execute("SET arrow_lossless_conversion = true")  # or a UUID comes as a string
        self.con.execute("SET threads = 2")
        if "AWS_ACCESS_KEY_ID" in os.environ:
            self.con.execute(secret(os.environ))

    def prepare(self, request):
        # Attached anew for each request: an attached catalog may answer from what it has seen before.
        self.con.execute("DETACH DATABASE IF EXISTS lake")
        self.con.execute(
            f"ATTACH {literal(request['warehouse'])} AS lake"
            f" (TYPE iceberg, ENDPOINT {literal(request['catalog'])}, AUTHORIZATION_TYPE 'none')"
        )
        return "lake"

    def literal(self, kind, text):
        if kind in self.plain:
            return text
        if kind == "string":
            return literal(text)
        if kind == "binary":
            return "'" + "".join(f"\\x{text[i:i + 2]}" for i in range(0, len(text), 2)) + "'::BLOB"
        return f"{literal(text)}::{kind}"

    def at(self, at):
        if "snapshot" in at:
            return f" AT (VERSION => {at['snapshot']})"
        if "ms" in at:
            return f" AT (TIMESTAMP => make_timestamp({at['ms']} * 1000))"
        return ""

    def batches(self, sql):
        return self.con.execute(sql).to_arrow_reader(20_000)

    def execute(self, sql):
        self.con.execute(sql)

    def tables(self, request):
        self.prepare(request)
        rows = self.con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'lake' ORDER BY ALL"
        ).fetchall()
        return {"tables": [{"namespace": s, "table": t} for s, t in rows]}

    def describe(self, request):
        schema = self.con.execute(f"FROM {self.source(request)} LIMIT 0").to_arrow_table().schema
        return {"columns": [{"name": f.name, "type": canon.type_name(f.type)} for f in schema], "lsn": ""}

    def hold(self, request):
        """Opens a read; finish reads on."""
        self.held = self.con.execute(f"FROM {self.source(request)}").to_arrow_reader(1000)
        return {"count": self.held.read_next_batch().num_rows}

    def finish(self, request):
        return {"count": sum(batch.num_rows for batch in self.held)}

    def query(self, request):
        self.prepare(request)
        rows = self.con.execute(request["sql"]).fetchall()
        return {"result": [[None if v is None else str(v) for v in row] for row in rows]}
