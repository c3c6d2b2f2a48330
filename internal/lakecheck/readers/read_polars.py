"""Reads tables through Polars, which asks the catalog through PyIceberg and reads the files itself."""

import os

import polars as pl
import pyarrow as pa

from pyiceberg.io.pyarrow import schema_to_pyarrow

import canon
import read_pyiceberg


def storage_options():
    if "AWS_ACCESS_KEY_ID" not in os.environ:
        return None
    return {
        "aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"], "aws_region": os.environ["AWS_REGION"],
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
    }


class Reader(read_pyiceberg.Reader):
    def frame(self, request):
        return pl.scan_iceberg(self.load(request), snapshot_id=self.snapshot_id(request), storage_options=storage_options())

    def describe(self, request):
        described = super().describe(request)
        schema = self.frame(request).head(0).collect().to_arrow().schema
        return {"columns": [{"name": f.name, "type": canon.type_name(f.type)} for f in schema], "lsn": described["lsn"]}

    def condition(self, frame, request):
        for term in request.get("where") or []:
            frame = frame.filter(self.expression(term))
        return frame

    @staticmethod
    def expression(term):
        column, op = pl.col(term["column"]), term["op"]
        if op == "IS NULL":
            return column.is_null()
        if op == "IS NOT NULL":
            return column.is_not_null()
        if op == "LIKE":
            return column.str.starts_with(term["value"])
        value = canon.parse(term["type"], term["value"])
        if term["type"] == "uuid":
            value = value.bytes  # as it shows the column
        value = pl.lit(value, dtype=pl.Float32 if term["type"] == "float" else None)
        return {"=": column.__eq__, "<>": column.__ne__, "<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__}[op](value)

    def read(self, request):
        columns = request["columns"]
        summary = canon.Summary(columns, request.get("keep", 0))
        frame = self.condition(self.frame(request), request)
        if columns:
            frame = frame.select(columns)
        declared = schema_to_pyarrow(self.schema(request), include_field_ids=False)
        for batch in arrow(frame.collect(), declared).to_batches(20_000):
            summary.add(batch)
        return summary.result()

    def count(self, request):
        return {"count": self.condition(self.frame(request), request).select(pl.len()).collect().item()}

    def bounds(self, request):
        column = pl.col(request["columns"][0])
        table = self.frame(request).select(column.min().alias("min"), column.max().alias("max")).collect().to_arrow()
        return {"rows": [[tok.decode("utf-8", "surrogateescape") for c in table.columns for tok in canon.tokens(c)]]}

    def hold(self, request):
        self.held = self.frame(request)
        return {}

    def finish(self, request):
        return {"count": self.held.select(pl.all()).collect().height}

    def write(self, request):
        frame = self.frame(request).head(1).collect()
        frame.write_iceberg(self.load(request), mode="append")
        return {}


def arrow(frame, declared):
    """An Arrow table with the types the table declares. Polars has no UUID, its bytes are; and its times of a day are in
    nanoseconds. The cast is a checked one: it fails where a value would change."""
    table = frame.to_arrow()
    columns = [exact(table.column(i), declared.field(name).type) for i, name in enumerate(table.column_names)]
    return pa.table(columns, names=table.column_names)


def exact(column, want):
    name = canon.type_name(want)
    if "uuid" not in name and "time" not in name:
        return column
    if isinstance(want, pa.BaseExtensionType):
        return pa.chunked_array([want.wrap_array(chunk) for chunk in column.cast(want.storage_type).chunks], want)
    if pa.types.is_list(want) and "uuid" in name:
        return column.cast(pa.list_(pa.binary(16)))
    return column.cast(want)
