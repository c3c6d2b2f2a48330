"""Reads tables through DuckDB's iceberg extension, attached to the REST catalog."""

import os
import sysconfig

import duckdb

import canon


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + text.replace("'", "''") + "'"


def secret(env):
    """The store's key; the catalog has told where the store is, but DuckDB takes that from the secret too."""
    options = {"TYPE": "s3", "KEY_ID": literal(env["AWS_ACCESS_KEY_ID"]), "SECRET": literal(env["AWS_SECRET_ACCESS_KEY"]), "REGION": literal(env.get("AWS_REGION", "us-east-1"))}
    endpoint = env.get("AWS_ENDPOINT_URL")
    if endpoint:
        scheme, _, host = endpoint.partition("://")
        options |= {"ENDPOINT": literal(host), "URL_STYLE": "'path'", "USE_SSL": str(scheme == "https").lower()}
    return "CREATE SECRET (" + ", ".join(f"{k} {v}" for k, v in options.items()) + ")"


class Reader:
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

    def attach(self, request):
        # Attached anew for each request: an attached catalog may answer from what it has seen before.
        self.con.execute("DETACH DATABASE IF EXISTS lake")
        self.con.execute(
            f"ATTACH {literal(request['warehouse'])} AS lake"
            f" (TYPE iceberg, ENDPOINT {literal(request['catalog'])}, AUTHORIZATION_TYPE 'none')"
        )

    def name(self, request):
        return f"lake.{quoted(request['namespace'])}.{quoted(request['table'])}"

    def tables(self, request):
        self.attach(request)
        rows = self.con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'lake' ORDER BY ALL"
        ).fetchall()
        return {"tables": [{"namespace": s, "table": t} for s, t in rows]}

    def describe(self, request):
        self.attach(request)
        schema = self.con.execute(f"FROM {self.name(request)} LIMIT 0").to_arrow_table().schema
        return {"columns": [{"name": f.name, "type": canon.type_name(f.type)} for f in schema], "lsn": ""}

    def read(self, request):
        self.attach(request)
        columns = request["columns"]
        summary = canon.Summary(columns, request.get("keep", 0))
        wanted = ", ".join(quoted(c) for c in columns) or "1"
        result = self.con.execute(f"SELECT {wanted} FROM {self.name(request)}")
        for batch in result.to_arrow_reader(20_000):
            summary.add(batch)
        return summary.result()

    def lsns(self, request):
        raise NotImplementedError("DuckDB shows no snapshot summaries")

    def query(self, request):
        """The rows of a query, as text; tables are named lake.namespace.table."""
        self.attach(request)
        rows = self.con.execute(request["sql"]).fetchall()
        return {"result": [[None if v is None else str(v) for v in row] for row in rows]}
