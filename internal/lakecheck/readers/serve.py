"""A reader process: one JSON request a line on standard input, one JSON answer a line on standard output.

    serve.py pyiceberg|duckdb|spark|trino|polars

    {"op": "tables|describe|read|count|...", "catalog": URL, "warehouse": W, "namespace": N, "table": T, ...}

It lives as long as its input, so that many publications are checked at the price of one start. Every answer has "error" when
the request failed; libraries that print do so on standard error.
"""

import importlib
import json
import os
import sys
import traceback

OPERATIONS = (
    "tables", "describe", "read", "count", "bounds", "lsns", "query", "snapshots", "hold", "finish", "write",
)


def main():
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="surrogateescape")
    os.dup2(2, 1)
    try:
        reader = importlib.import_module("read_" + sys.argv[1]).Reader()
    except Exception as e:  # the caller gets the reason, not a stack
        answer(out, {"error": f"start: {type(e).__name__}: {e}"})
        return 1
    answer(out, {"ready": sys.argv[1]})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["op"] not in OPERATIONS:
                raise ValueError(f"no operation {request['op']}")
            result = getattr(reader, request["op"])(request)
        except Exception as e:
            traceback.print_exc(file=sys.stderr)
            result = {"error": f"{type(e).__name__}: {e}"}
        answer(out, result)
    reader.close()
    return 0


def answer(out, value):
    out.write(json.dumps(value, ensure_ascii=True) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
