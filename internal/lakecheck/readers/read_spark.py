"""Reads tables through Spark with Iceberg's runtime: one session on one core, a catalog per warehouse.

TARN_SPARK is the folder that internal/tools/install-engines makes; TARN_SPARK_JARS may name more jars, between commas.
"""

import os
import sys

HOME = os.environ["TARN_SPARK"]
sys.path.insert(0, os.path.join(HOME, "python"))

from pyspark.sql import SparkSession

import canon
import sqlreader


def session():
    jars = [os.path.join(HOME, "jars", name) for name in sorted(os.listdir(os.path.join(HOME, "jars")))]
    jars += filter(None, os.environ.get("TARN_SPARK_JARS", "").split(","))
    settings = {
        "spark.jars": ",".join(jars),
        "spark.driver.memory": "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -Duser.timezone=UTC",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.warehouse.dir": os.path.join(os.environ["HOME"], "warehouse"),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[1]").appName("lakecheck")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


class Reader(sqlreader.SQLReader):
    def __init__(self):
        self.spark = session()
        self.catalogs = {}
        self.held = None

    @staticmethod
    def quote(name):
        return "`" + name.replace("`", "``") + "`"

    def prepare(self, request):
        key = (request["catalog"], request["warehouse"])
        if key not in self.catalogs:
            name = f"lake{len(self.catalogs)}"
            prefix = f"spark.sql.catalog.{name}"
            self.spark.conf.set(prefix, "org.apache.iceberg.spark.SparkCatalog")
            self.spark.conf.set(prefix + ".type", "rest")
            self.spark.conf.set(prefix + ".uri", key[0])
            self.spark.conf.set(prefix + ".warehouse", key[1])
            self.spark.conf.set(prefix + ".cache-enabled", "false")  # or a table is as it was 30 s ago
            self.catalogs[key] = name
        return self.catalogs[key]

    def literal(self, kind, text):
        if kind in self.plain:
            return text
        if kind in ("float", "double"):
            return f"{kind}({sqlreader.text_literal(text)})"
        if kind.startswith("decimal"):
            return f"CAST('{text}' AS {kind})"
        if kind == "binary":
            return f"X'{text}'"
        if kind == "date":
            return f"DATE'{text}'"
        if kind == "timestamp":
            return f"TIMESTAMP_NTZ'{text}'"
        if kind == "timestamptz":
            return f"TIMESTAMP_LTZ'{text}'"
        if kind in ("string", "uuid"):
            return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        raise ValueError(f"no literal of type {kind}")

    def at(self, at):
        if "snapshot" in at:
            return f" VERSION AS OF {at['snapshot']}"
        if "ms" in at:
            return f" TIMESTAMP AS OF {at['ms'] / 1000:.3f}"
        return ""

    def batches(self, sql):
        return self.spark.sql(sql).toArrow().to_batches()

    def execute(self, sql):
        self.spark.sql(sql).collect()

    def tables(self, request):
        catalog = self.prepare(request)
        names = []
        for (namespace,) in self.spark.sql(f"SHOW NAMESPACES IN {catalog}").collect():
            # Shown as it would be written.
            plain = namespace[1:-1].replace("``", "`") if namespace.startswith("`") else namespace
            for row in self.spark.sql(f"SHOW TABLES IN {catalog}.{self.quote(plain)}").collect():
                names.append({"namespace": plain, "table": row["tableName"]})
        return {"tables": names}

    def describe(self, request):
        schema = self.spark.sql(f"SELECT * FROM {self.source(request)} LIMIT 0").toArrow().schema
        return {"columns": [{"name": f.name, "type": canon.type_name(f.type)} for f in schema], "lsn": ""}

    def hold(self, request):
        """Opens a read; finish reads on."""
        self.held = self.spark.sql(f"SELECT * FROM {self.source(request)}")
        self.held._jdf.queryExecution().executedPlan()  # it plans now, and files are fixed with the plan
        return {}

    def finish(self, request):
        return {"count": self.held.toArrow().num_rows}
