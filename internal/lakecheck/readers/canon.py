"""The canonical text of rows, from Arrow record batches: the Python twin of canon.go.

A value is NULL or a text; a row is the concatenation of its values' tokens: b"N;" or b"<bytes of the text>:<text>;".

    bool              true | false
    int, long         decimal digits
    float, double     big-endian bits in hex (8 or 16 digits); every NaN is "nan"
    decimal           digits with exactly the type's scale, never an exponent
    date              days since 1970-01-01
    time              microseconds since midnight
    timestamp(tz)     microseconds since 1970-01-01 (UTC)
    string            itself
    uuid              8-4-4-4-12 lower-case hex
    binary            lower-case hex
    list              "[", the elements' tokens, "]"
    struct            "{", the members' tokens in order, "}"
    map               "<", the entries in order, each as the tokens of its key and its value, ">"

The checksum of a table is the number of rows and the sum, modulo 2**128, of the first 16 bytes of each row's SHA-256: it
depends on the multiset of rows, not on their order.
"""

import datetime
import decimal
import hashlib
import struct
import uuid

import pyarrow as pa

NULL = b"N;"
MODULUS = 1 << 128


def token(text):
    raw = text if isinstance(text, bytes) else text.encode("utf-8")
    return b"%d:%b;" % (len(raw), raw)


def type_name(t):
    """Iceberg's name of an Arrow type, without spaces; "unknown:..." where there is none."""
    if isinstance(t, pa.BaseExtensionType):
        known = {"arrow.uuid": "uuid", "arrow.bool8": "boolean"}
        return known.get(t.extension_name, f"unknown:{t.extension_name}")
    if pa.types.is_boolean(t):
        return "boolean"
    if pa.types.is_integer(t):
        return {32: "int", 64: "long"}.get(t.bit_width, f"unknown:{t}")
    if pa.types.is_float32(t):
        return "float"
    if pa.types.is_float64(t):
        return "double"
    if pa.types.is_decimal(t):
        return f"decimal({t.precision},{t.scale})"
    if pa.types.is_date32(t):
        return "date"
    if pa.types.is_time64(t):
        return "time"
    if pa.types.is_timestamp(t):
        return "timestamptz" if t.tz else "timestamp"
    if pa.types.is_string(t) or pa.types.is_large_string(t) or t == pa.string_view():
        return "string"
    if pa.types.is_binary(t) or pa.types.is_large_binary(t) or t == pa.binary_view():
        return "binary"
    if pa.types.is_fixed_size_binary(t) and t.byte_width == 16:
        return "uuid"
    if pa.types.is_list(t) or pa.types.is_large_list(t):
        return f"list<{type_name(t.value_type)}>"
    if pa.types.is_map(t):
        return f"map<{type_name(t.key_type)},{type_name(t.item_type)}>"
    if pa.types.is_struct(t):
        return "struct<" + ",".join(f"{f.name}:{type_name(f.type)}" for f in t) + ">"
    return f"unknown:{t}"


def float_text(fmt):
    pack = struct.Struct(fmt).pack
    return lambda v: "nan" if v != v else pack(v).hex()


def microseconds(array, kind):
    unit = array.type.unit
    if unit != "us":
        raise ValueError(f"{kind} in unit {unit}, want us")
    return array.cast(pa.int64())


def scalars(array):
    """The values of a scalar array as a list of None and str or bytes."""
    name = type_name(array.type)
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if name == "boolean":
        render = lambda v: "true" if v else "false"
    elif name in ("int", "long"):
        render = str
    elif name == "float":
        render = float_text(">f")
    elif name == "double":
        render = float_text(">d")
    elif name.startswith("decimal"):
        render = lambda v: format(v, "f")
    elif name == "date":
        array, render = array.cast(pa.int32()), str
    elif name in ("time", "timestamp", "timestamptz"):
        array, render = microseconds(array, name), str
    elif name == "string":
        render = lambda v: v
    elif name == "uuid":
        render = lambda v: str(uuid.UUID(bytes=v))
    elif name == "binary":
        render = bytes.hex
    else:
        raise ValueError(f"no canonical text for Arrow type {array.type}")
    return [None if v is None else render(v) for v in array.to_pylist()]


def tokens(array):
    """One token per value of an Arrow array."""
    if isinstance(array, pa.ChunkedArray):
        return [tok for chunk in array.chunks for tok in tokens(chunk)]
    name = type_name(array.type)
    if name.startswith("list<"):
        return list_tokens(array)
    if name.startswith("map<"):
        return map_tokens(array)
    if name.startswith("struct<"):
        members = [tokens(member) for member in array.flatten()]
        rows = zip(*members) if members else ((),) * len(array)
        return [token(b"{" + b"".join(row) + b"}") if ok else NULL for row, ok in zip(rows, array.is_valid().to_pylist())]
    return [NULL if v is None else token(v) for v in scalars(array)]


def list_tokens(array):
    # Offsets count from the start of the parent's values, whatever slice of them this array is.
    values, offsets = tokens(array.values), array.offsets.to_pylist()
    out = []
    for i, ok in enumerate(array.is_valid().to_pylist()):
        out.append(token(b"[" + b"".join(values[offsets[i] : offsets[i + 1]]) + b"]") if ok else NULL)
    return out


def map_tokens(array):
    entries, offsets = list(zip(tokens(array.keys), tokens(array.items))), array.offsets.to_pylist()
    out = []
    for i, ok in enumerate(array.is_valid().to_pylist()):
        pairs = [part for entry in entries[offsets[i] : offsets[i + 1]] for part in entry]
        out.append(token(b"<" + b"".join(pairs) + b">") if ok else NULL)
    return out


def parse(kind, text):
    """The Python value of a text as Postgres writes it, by the name of its Iceberg type."""
    if kind == "boolean":
        return text == "true"
    if kind in ("int", "long"):
        return int(text)
    if kind == "double":
        return float(text)
    if kind == "float":
        return struct.unpack(">f", struct.pack(">f", float(text)))[0]
    if kind.startswith("decimal"):
        scale = int(kind[:-1].split(",")[1])
        return decimal.Decimal(text).quantize(decimal.Decimal(1).scaleb(-scale), context=decimal.Context(prec=38))
    if kind == "binary":
        return bytes.fromhex(text)
    if kind == "uuid":
        return uuid.UUID(text)
    if kind == "date":
        return datetime.date.fromisoformat(text)
    if kind == "time":
        return datetime.time.fromisoformat(text)
    if kind in ("timestamp", "timestamptz"):
        return datetime.datetime.fromisoformat(text)
    return text


class Summary:
    """Rows and checksum of the batches added; keeps up to keep rows as lists of tokens."""

    def __init__(self, columns, keep=0):
        self.columns, self.keep = columns, keep
        self.count, self.sum, self.rows = 0, 0, []

    def add(self, batch):
        # By name: a reader may hand the columns out in its own order.
        columns = [tokens(batch.column(batch.schema.get_field_index(c))) for c in self.columns]
        rows = zip(*columns) if columns else ((),) * batch.num_rows
        for row in rows:
            digest = hashlib.sha256(b"".join(row)).digest()
            self.sum += int.from_bytes(digest[:16], "big")
            if len(self.rows) < self.keep:
                self.rows.append([tok.decode("utf-8", "surrogateescape") for tok in row])
        self.count += batch.num_rows
        self.sum %= MODULUS

    def result(self):
        return {"count": self.count, "checksum": f"{self.sum:032x}", "rows": self.rows}
