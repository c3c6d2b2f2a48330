"""Reads a table by its folder, without a catalog, with DuckDB, PyIceberg and Polars, and prints the row counts as JSON."""
import glob, json, os, sys

import duckdb
import polars
from pyiceberg.table import StaticTable

folder = sys.argv[1]

def newest(folder):
    """The metadata that the hint names: Polars takes a file."""
    with open(f"{folder}/metadata/version-hint.text") as hint:
        return f"{folder}/metadata/v{hint.read().strip()}.metadata.json"


con = duckdb.connect()
site = os.path.dirname(os.path.dirname(duckdb.__file__))
for ext in ("httpfs", "avro", "iceberg"):
    con.execute(f"LOAD '{glob.glob(f'{site}/duckdb_extension_{ext}/extensions/*/{ext}.duckdb_extension')[0]}'")
print(json.dumps({
    "duckdb": con.execute("SELECT count(*) FROM iceberg_scan(?)", [folder]).fetchone()[0],
    "pyiceberg": StaticTable.from_metadata(folder).scan().to_arrow().num_rows,
    "polars": polars.scan_iceberg(newest(folder)).collect().height,
}))
