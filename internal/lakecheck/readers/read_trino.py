"""Reads tables through a Trino server that it starts, with a catalog per warehouse.

TARN_TRINO is the folder that internal/tools/install-engines makes, TARN_JDK a JDK from 25 on.
"""

import base64
import datetime
import decimal
import os
import re
import socket
import subprocess
import time
import urllib.request
import json
import uuid

import pyarrow as pa
import trino.dbapi

import canon
import sqlreader

HOME, JDK = os.environ["TARN_TRINO"], os.environ["TARN_JDK"]
BATCH_ROWS = 20_000
START_SECONDS_MAX = 170

JVM = """-Xmx768m -XX:+UseSerialGC -XX:ReservedCodeCacheSize=256M -XX:+EnableDynamicAgentLoading -Djdk.attach.allowAttachSelf=true
 --sun-misc-unsafe-memory-access=allow --add-modules=jdk.incubator.vector --enable-native-access=ALL-UNNAMED -Duser.timezone=UTC"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """The Trino server. It is in this process's group, which is killed as a whole."""

    def __init__(self):
        self.port = free_port()
        self.dir = os.path.join(os.environ["HOME"], "trino")
        os.makedirs(self.dir + "/catalog")
        config = {
            "coordinator": "true", "node-scheduler.include-coordinator": "true", "http-server.http.port": self.port,
            "discovery.uri": f"http://127.0.0.1:{self.port}", "node.internal-address": "127.0.0.1",
            "query.max-memory": "256MB", "query.max-memory-per-node": "256MB", "memory.heap-headroom-per-node": "128MB",
            "catalog.management": "dynamic", "catalog.store": "memory", "plugin.dir": HOME + "/plugin",
        }
        with open(self.dir + "/config.properties", "w") as f:
            f.writelines(f"{k}={v}\n" for k, v in config.items())
        self.log = open(self.dir + "/log", "w")
        self.process = subprocess.Popen(
            [JDK + "/bin/java", *JVM.split(), f"-Dconfig={self.dir}/config.properties", "-Dnode.environment=test", "-Dnode.id=n1",
             f"-Dnode.data-dir={self.dir}/data", f"-Dcatalog.config-dir={self.dir}/catalog", "-cp", f"{HOME}/server:{HOME}/server/*", "TrinoServer"],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=self.dir,
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.dir + "/log") as f:
                    self.process.kill()
                    raise RuntimeError("the Trino server does not start: " + f.read()[-2000:])
            time.sleep(0.2)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/info", timeout=5) as answer:
                return not json.load(answer)["starting"]
        except OSError:
            return False


def arrow_type(name):
    """The Arrow type of a Trino type."""
    simple = {
        "boolean": pa.bool_(), "integer": pa.int32(), "bigint": pa.int64(), "real": pa.float32(), "double": pa.float64(),
        "date": pa.date32(), "time(6)": pa.time64("us"), "timestamp(6)": pa.timestamp("us"), "varchar": pa.string(),
        "timestamp(6) with time zone": pa.timestamp("us", tz="UTC"), "varbinary": pa.binary(), "uuid": pa.binary(16),
    }
    if name in simple:
        return simple[name]
    if m := re.fullmatch(r"decimal\((\d+),\s*(\d+)\)", name):
        return pa.decimal128(int(m[1]), int(m[2]))
    if m := re.fullmatch(r"array\((.*)\)", name):
        return pa.list_(arrow_type(m[1]))
    if m := re.fullmatch(r"map\((.*)\)", name):
        return pa.map_(*map(arrow_type, split(m[1])))
    if m := re.fullmatch(r"row\((.*)\)", name):
        return pa.struct([member(text) for text in split(m[1])])
    if name.startswith(("varchar(", "char(")):
        return pa.string()
    raise ValueError(f"no Arrow type for Trino's {name}")


def split(text):
    """The members of a row type, which stand between commas that are in no parentheses or quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(text):
        quoted ^= c == '"'
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0 and not quoted:
            parts.append(text[start:i].strip())
            start = i + 1
    return parts + [text[start:].strip()]


def member(text):
    m = re.fullmatch(r'("(?:[^"]|"")*"|\w+) (.*)', text)
    return pa.field(m[1].strip('"').replace('""', '"'), arrow_type(m[2]))


EPOCH = datetime.datetime(1970, 1, 1)


def micros(text):
    """Microseconds of a time, a timestamp or one with " UTC"."""
    if text.endswith(" UTC"):
        text = text[:-4]
    if " " not in text:
        return (datetime.datetime.fromisoformat("1970-01-01 " + text) - EPOCH) // datetime.timedelta(microseconds=1)
    return (datetime.datetime.fromisoformat(text) - EPOCH) // datetime.timedelta(microseconds=1)


def value(v, t):
    """A value as the server wrote it in JSON, as what an Arrow array is made from."""
    if v is None:
        return None
    if pa.types.is_list(t):
        return [value(x, t.value_type) for x in v]
    if pa.types.is_map(t):
        return [(k, value(x, t.item_type)) for k, x in v.items()]
    if pa.types.is_struct(t):
        return {f.name: value(x, f.type) for f, x in zip(t, v)}
    if pa.types.is_floating(t):
        return float(v)  # also of "NaN" and "-Infinity"
    if pa.types.is_decimal(t):
        return decimal.Decimal(v)
    if pa.types.is_time(t) or pa.types.is_timestamp(t):
        return micros(v)
    if pa.types.is_date(t):
        return datetime.date.fromisoformat(v)
    if pa.types.is_fixed_size_binary(t):
        return uuid.UUID(v).bytes
    if pa.types.is_binary(t):
        return base64.b64decode(v)
    return v


class Reader(sqlreader.SQLReader):
    def __init__(self):
        self.server = Server()
        self.connection = trino.dbapi.connect(
            host="127.0.0.1", port=self.server.port, user="lakecheck", legacy_primitive_types=True, timezone="UTC", max_attempts=1,
        )
        self.catalogs = {}
        self.made = 0  # catalogs, those that failed too
        self.held = None

    def close(self):
        self.server.stop()

    def prepare(self, request):
        key = (request["catalog"], request["warehouse"])
        if key not in self.catalogs:
            name = f"lake{self.made}"
            self.made += 1
            settings = {
                "iceberg.catalog.type": "rest", "iceberg.rest-catalog.uri": key[0], "iceberg.rest-catalog.warehouse": key[1],
                "iceberg.rest-catalog.case-insensitive-name-matching": "true",
                "iceberg.rest-catalog.nested-namespace-enabled": "true",  # else one schema with a dot in its name breaks the listing
                "fs.native-s3.enabled": "true", "s3.path-style-access": "true", "s3.endpoint": os.environ["AWS_ENDPOINT_URL"],
                "s3.region": os.environ["AWS_REGION"], "s3.aws-access-key": os.environ["AWS_ACCESS_KEY_ID"],
                "s3.aws-secret-key": os.environ["AWS_SECRET_ACCESS_KEY"],
            }
            properties = ", ".join(f"{sqlreader.doubled(k)} = {sqlreader.text_literal(v)}" for k, v in settings.items())
            self.execute(f"CREATE CATALOG {name} USING iceberg WITH ({properties})")
            self.catalogs[key] = name
        return self.catalogs[key]

    def literal(self, kind, text):
        if kind in self.plain:
            return text
        if kind == "binary":
            return f"X'{text}'"
        if kind in ("float", "double"):
            return f"CAST('{text}' AS {'real' if kind == 'float' else 'double'})"
        if kind == "string":
            return sqlreader.text_literal(text)
        if kind == "timestamptz":
            return f"TIMESTAMP '{text.removesuffix('+00')} UTC'"
        return f"{'decimal' if kind.startswith('decimal') else kind} '{text}'"

    def at(self, at):
        if "snapshot" in at:
            return f" FOR VERSION AS OF {at['snapshot']}"
        if "ms" in at:
            return f" FOR TIMESTAMP AS OF TIMESTAMP '{datetime.datetime.fromtimestamp(at['ms'] / 1000, datetime.timezone.utc):%Y-%m-%d %H:%M:%S.%f} UTC'"
        return ""

    def batches(self, sql):
        cursor = self.connection.cursor()
        cursor.execute(sql)
        types = [arrow_type(d[1]) for d in cursor.description]
        names = [d[0] for d in cursor.description]
        empty = True
        while rows := cursor.fetchmany(BATCH_ROWS):
            yield self.batch(names, types, rows)
            empty = False
        if empty:
            yield self.batch(names, types, [])

    @staticmethod
    def batch(names, types, rows):
        columns = list(zip(*rows)) if rows else [()] * len(names)
        arrays = [pa.array([value(v, t) for v in column], t) for column, t in zip(columns, types)]
        return pa.RecordBatch.from_arrays(arrays, names)

    def execute(self, sql):
        cursor = self.connection.cursor()
        cursor.execute(sql)
        cursor.fetchall()

    def tables(self, request):
        catalog = self.prepare(request)
        rows = self.rows(
            f"SELECT table_schema, table_name FROM {catalog}.information_schema.tables WHERE table_schema <> 'information_schema' AND NOT (table_schema = 'system' AND table_name = 'iceberg_tables') ORDER BY 1, 2"
        )
        return {"tables": [{"namespace": s, "table": t} for s, t in rows]}

    def rows(self, sql):
        cursor = self.connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall()

    def describe(self, request):
        cursor = self.connection.cursor()
        cursor.execute(f"SELECT * FROM {self.source(request)} LIMIT 0")
        cursor.fetchall()
        return {"columns": [{"name": d[0], "type": canon.type_name(arrow_type(d[1]))} for d in cursor.description], "lsn": ""}

    def hold(self, request):
        self.held = self.connection.cursor()
        self.held.execute(f"SELECT * FROM {self.source(request)}")
        return {"count": int(self.held.fetchone() is not None)}

    def finish(self, request):
        return {"count": sum(1 for _ in iter(self.held.fetchone, None))}
