"""Reads a table by the list of its Parquet files, over and over, with pyarrow, Polars and DuckDB: for each line of standard input one
line "reader rows seq checksum" for each, or what failed. The argument is the list's location.
"""

import json
import os
import sys
import sysconfig
from urllib.parse import urlparse

import duckdb
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as fs

manifest = sys.argv[1]
place = urlparse(manifest)
if place.scheme == "s3":
    endpoint = urlparse(os.environ["AWS_ENDPOINT_URL"])
    store = fs.S3FileSystem(endpoint_override=endpoint.netloc, scheme=endpoint.scheme)
    options = {"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"], "aws_region": os.environ.get("AWS_REGION", "us-east-1"), "aws_allow_http": "true"}
else:
    store, options = fs.LocalFileSystem(), {}
con = duckdb.connect()
path = f"{sysconfig.get_path('purelib')}/duckdb_extension_httpfs/extensions/v{duckdb.__version__}/httpfs.duckdb_extension"
con.execute(f"LOAD '{path}'" if os.path.exists(path) else "LOAD httpfs")
if place.scheme == "s3":
    con.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{os.environ['AWS_ACCESS_KEY_ID']}', SECRET '{os.environ['AWS_SECRET_ACCESS_KEY']}',"
        f" ENDPOINT '{endpoint.netloc}', URL_STYLE 'path', USE_SSL {endpoint.scheme == 'https'})"
    )


def files():
    """The list's locations. On S3 pyarrow asks for an object's size and then for as many bytes, whatever is there by then: of the newest list,
    which is replaced, it may get a part. Spark's lists are not replaced."""
    if place.scheme != "s3":
        with store.open_input_stream(place.path) as f:
            return f.read().decode().split()
    folder = (place.netloc + place.path).rpartition("/_symlink_format_manifest/")[0] + "/_spark_metadata"
    newest = max(store.get_file_info(fs.FileSelector(folder)), key=lambda f: int(f.base_name.removesuffix(".compact")))
    with store.open_input_stream(newest.path) as f:
        return ["s3://" + json.loads(line)["path"].partition("://")[2] for line in f.read().decode().splitlines()[1:]]


def by_pyarrow():
    t = ds.dataset([f.partition("://")[2] for f in files()], filesystem=store, format="parquet").to_table()
    seq = pc.sum(pc.if_else(pc.equal(t["id"], 0), t["n"], 0)).as_py()
    return t.num_rows, seq, pc.sum(pc.multiply(t["id"].cast("int64"), t["n"].cast("int64"))).as_py()


def by_polars():
    t = pl.scan_parquet(files(), storage_options=options or None)
    id, n = pl.col("id").cast(pl.Int64), pl.col("n").cast(pl.Int64)
    return t.select(pl.len(), n.filter(id == 0).sum(), (id * n).sum().alias("checksum")).collect().row(0)


def by_duckdb():
    con.execute(f"SET VARIABLE files = (SELECT string_split(trim(content, chr(10)), chr(10)) FROM read_text('{manifest}'))")
    return con.execute("SELECT count(*), sum(n) FILTER (id = 0), sum(id::bigint * n) FROM read_parquet(getvariable('files'))").fetchone()


for _ in sys.stdin:
    for name, read in (("pyarrow", by_pyarrow), ("polars", by_polars), ("duckdb", by_duckdb)):
        try:
            print(name, *(v or 0 for v in read()), flush=True)
        except Exception as e:
            print(name, "failed:", type(e).__name__, " ".join(str(e).split())[:500], flush=True)
    print("done", flush=True)
