"""Writes the data files of a lake again from memory, with the codec and row groups that tarn has: argv is the lake's folder and the file to write.

Prints the rows, the CPU-seconds of all threads while writing, and the bytes written.
"""

import glob
import os
import resource
import sys

import duckdb

lake, out = sys.argv[1:]
con = duckdb.connect()
con.execute("SET threads = 2")
files = [f for f in glob.glob(f"{lake}/**/*.parquet", recursive=True) if "-deletes" not in f]
con.execute("CREATE TABLE rows AS FROM read_parquet($files)", {"files": files})


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


before = cpu()
con.execute(f"COPY rows TO '{out}' (FORMAT parquet, CODEC zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 1048576)")
used = cpu() - before
print(con.execute("SELECT count(*) FROM rows").fetchone()[0], round(used, 3), os.path.getsize(out))
