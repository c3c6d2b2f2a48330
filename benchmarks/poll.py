"""Asks for the newest heartbeat again and again, as a user of PyIceberg would: load the table, scan it.

Prints a line of JSON for each answer: when it was asked for, when it was there (Unix seconds), and the newest id.
The scan asks for ids above the newest seen: with file statistics that is what keeps a poll from reading the whole table.
"""

import json
import sys
import time

import pyarrow.compute
from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import GreaterThan

catalog = load_catalog("tarn", type="rest", uri=sys.argv[1], warehouse="app")
newest = 0
while True:
    asked = time.time()
    table = catalog.load_table(("public", "heartbeats"))
    rows = table.scan(row_filter=GreaterThan("id", newest), selected_fields=("id",)).to_arrow()
    had = time.time()
    if rows.num_rows:
        newest = max(newest, pyarrow.compute.max(rows["id"]).as_py())
    print(json.dumps({"asked": asked, "had": had, "id": newest}), flush=True)
    time.sleep(0.02)
