"""Writes the tables of compare_test.go with PyIceberg: write_lake.py FOLDER, prints {"namespace.table": metadata location}.

types   one row of ordinary values, one of edge values, one of NULLs, of every type with a rule
twins   three rows, two of them equal, deleted and appended in several snapshots
"""

import datetime as dt
import decimal
import json
import struct
import sys
import uuid

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

UTC = dt.timezone.utc
D = decimal.Decimal
pair = pa.struct([("a", pa.int32()), ("b", pa.string())])
interval = pa.struct([("months", pa.int32()), ("days", pa.int32()), ("microseconds", pa.int64())])


def span_of(bound):
    return pa.struct([("lower", bound), ("upper", bound), ("bounds", pa.string())])


def bits(fmt, text):
    return struct.unpack(fmt, bytes.fromhex(text))[0]


def span(m, d, us):
    return {"months": m, "days": d, "microseconds": us}


COLUMNS = [
    ("b", pa.bool_(), [True, False]),
    ("i2", pa.int32(), [1, -32768]),
    ("i4", pa.int32(), [2, 2147483647]),
    ("i8", pa.int64(), [3, -9223372036854775808]),
    ("o", pa.int64(), [4, 4294967295]),
    ("f4", pa.float32(), [0.1, float("nan")]),
    ("f8", pa.float64(), [0.1, bits(">d", "8000000000000000")]),
    ("n", pa.decimal128(12, 2), [D("1234567890.12"), D("-0.10")]),
    ("nneg", pa.decimal128(7, 0), [D("12300"), None]),
    ("nsmall", pa.decimal128(4, 4), [D("0.0012"), D("-0.0099")]),
    ("nfree", pa.string(), ["1.500", "NaN"]),
    ("nwide", pa.string(), ["123456789012345678901234567890123456789012.50", "-0.01"]),
    ("t", pa.string(), ["plain", 'é "quoted"; 12:x\n\t\\']),
    ("vc", pa.string(), ["v", ""]),
    ("c5", pa.string(), ["ab   ", "     "]),
    ("nm", pa.string(), ["name", "x"]),
    ("ba", pa.binary(), [b"\x00\xff", b""]),
    ("u", pa.uuid(), [uuid.UUID("12345678-9abc-def0-1234-56789abcdef0").bytes, uuid.UUID(int=0).bytes]),
    ("d", pa.date32(), [dt.date(2024, 2, 29), None]),
    ("d2", pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    ("tm", pa.time64("us"), [dt.time(1, 2, 3, 4), dt.time(23, 59, 59, 999999)]),
    ("ts", pa.timestamp("us"), [dt.datetime(2024, 2, 29, 1, 2, 3, 4), None]),
    ("ts2", pa.timestamp("us"), [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    ("tz", pa.timestamp("us", "UTC"), [dt.datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), None]),
    ("iv", interval, [span(14, -3, 4 * 3600000000 + 5), span(-25, 0, -1)]),
    ("j", pa.string(), ['{"b" : 1,  "a":2}', "null"]),
    ("jb", pa.string(), ['{"a": 2, "b": 1}', "null"]),
    ("e", pa.string(), ["sad", "it's"]),
    ("dm", pa.decimal128(6, 1), [D("5.5"), D("99999.9")]),
    ("ip", pa.string(), ["10.0.0.1", "10.0.0.0/8"]),
    ("bt", pa.string(), ["101", "000"]),
    ("ttz", pa.string(), ["01:02:03+02", "23:59:59.999999-11:30"]),
    ("ai", pa.list_(pa.int32()), [[1, None, 3], []]),
    ("at", pa.list_(pa.string()), [["a", "b;c", None, ""], [None]]),
    ("ats", pa.list_(pa.timestamp("us", "UTC")), [[dt.datetime(2024, 1, 1, tzinfo=UTC)], [None]]),
    ("an", pa.list_(pa.decimal128(10, 3)), [[D("1.500")], [None, D("-2.000")]]),
    ("aiv", pa.list_(interval), [[span(1, 2, 3)], [None]]),
    ("au", pa.list_(pa.uuid()), [[uuid.UUID(int=1).bytes], None]),
    ("Odd \"name\"", pa.int32(), [1, 2]),
    ("comp", pair, [{"a": 1, "b": "x"}, {"a": None, "b": None}]),
    ("comps", pa.list_(pair), [[{"a": 1, "b": "x"}, None], []]),
    ("r", span_of(pa.int32()), [{"lower": 1, "upper": 2, "bounds": "[)"}, {"lower": None, "upper": None, "bounds": "empty"}]),
    ("sq", pa.list_(pa.list_(pa.int32())), [[[1, 2], [None, 4]], []]),
    ("h", pa.map_(pa.string(), pa.string()), [[("a", "1"), ("b", None)], []]),
]


def column(t, values):
    if t == pa.list_(pa.uuid()):  # pa.array makes no lists of extension types
        plain = pa.array(values, type=pa.list_(pa.binary(16)))
        items = pa.ExtensionArray.from_storage(pa.uuid(), plain.values)
        return pa.ListArray.from_arrays(plain.offsets, items, mask=plain.is_null())
    return pa.array(values, type=t)


def main():
    root = sys.argv[1]
    catalog = SqlCatalog("w", uri=f"sqlite:///{root}/catalog.db", warehouse=f"file://{root}/lake")
    catalog.create_namespace("public")
    schema = pa.schema([(name, t) for name, t, _ in COLUMNS])
    data = {name: column(t, values + [None]) for name, t, values in COLUMNS}
    types = catalog.create_table("public.types", schema)
    types.append(pa.table(data, schema=schema))

    schema = pa.schema([("id", pa.int64()), ("v", pa.string())])
    twins = catalog.create_table("public.twins", schema)
    for i, v in [(1, "gone"), (2, "twin"), (2, "twin"), (3, None)]:
        twins.append(pa.table({"id": [i], "v": [v]}, schema=schema), snapshot_properties={"tarn.lsn": f"0/{i}"})
    twins.delete("id = 1", snapshot_properties={"tarn.lsn": "0/ABC"})
    catalog.create_table("public.empty", schema)
    tables = {f"public.{t}": catalog.load_table(f"public.{t}").metadata_location for t in ("types", "twins", "empty")}
    print(json.dumps(tables))


main()
