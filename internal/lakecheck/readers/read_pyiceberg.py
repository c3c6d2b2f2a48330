"""Reads tables through PyIceberg."""

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import expressions as ex
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import schema_to_pyarrow

import canon


class Reader:
    def __init__(self):
        self.catalogs = {}

    def close(self):
        """The end of the reader."""

    def catalog(self, request):
        key = (request["catalog"], request["warehouse"])
        if key not in self.catalogs:
            if len(self.catalogs) > 64:  # one per pinned LSN: they would pile up
                self.catalogs.clear()
            self.catalogs[key] = load_catalog("tarn", type="rest", uri=key[0], warehouse=key[1])
        return self.catalogs[key]

    def load(self, request):
        return self.catalog(request).load_table((request["namespace"], request["table"]))

    def tables(self, request):
        catalog = self.catalog(request)
        names = []
        for namespace in catalog.list_namespaces():
            for ident in catalog.list_tables(namespace):
                names.append({"namespace": ".".join(ident[:-1]), "table": ident[-1]})
        return {"tables": names}

    def describe(self, request):
        table = self.load(request)
        schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
        snapshot = table.current_snapshot()
        summary = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
        return {
            "columns": [{"name": f.name, "type": canon.type_name(f.type)} for f in schema],
            "lsn": summary.get("tarn.lsn", ""),
        }

    def read(self, request):
        columns = request["columns"]
        summary = canon.Summary(columns, request.get("keep", 0))
        for batch in self.scan(request, *columns).to_arrow_batch_reader():
            summary.add(batch)
        return summary.result()

    def scan(self, request, *columns):
        return self.load(request).scan(
            row_filter=self.filter(request), selected_fields=columns or ("*",), snapshot_id=self.snapshot_id(request)
        )

    def snapshot_id(self, request):
        at = request.get("at") or {}
        if "ms" in at:
            snapshot = self.load(request).snapshot_as_of_timestamp(at["ms"])
            if snapshot is None:
                raise ValueError(f"no snapshot at {at['ms']} ms")
            return snapshot.snapshot_id
        return at.get("snapshot")

    def schema(self, request):
        """The schema of what is read: a snapshot's own if one is named."""
        table, snapshot_id = self.load(request), self.snapshot_id(request)
        if snapshot_id is None:
            return table.schema()
        return table.schemas()[table.snapshot_by_id(snapshot_id).schema_id]

    @staticmethod
    def filter(request):
        out = ex.AlwaysTrue()
        for term in request.get("where") or []:
            out = ex.And(out, expression(term))
        return out

    def count(self, request):
        """PyIceberg answers from metadata where a file has no deletes."""
        return {"count": self.scan(request).count()}

    def bounds(self, request):
        column = self.scan(request, request["columns"][0]).to_arrow().column(0)
        found = pc.min_max(column).values()
        return {"rows": [[tok.decode("utf-8", "surrogateescape") for v in found for tok in canon.tokens(pa.array([v.as_py()], v.type))]]}

    def snapshots(self, request):
        """Every snapshot, oldest first."""
        return {"snapshots": [{"id": s.snapshot_id, "ms": s.timestamp_ms} for s in self.load(request).metadata.snapshots]}

    def hold(self, request):
        """Opens a read; finish reads on."""
        table = self.load(request)
        self.held = iter(table.scan().to_arrow_batch_reader())
        return {"count": next(self.held).num_rows}

    def finish(self, request):
        return {"count": sum(batch.num_rows for batch in self.held)}

    def write(self, request):
        """Appends a row to a table that is there, or drops it."""
        table = self.load(request)
        if request["sql"].startswith("DROP"):
            self.catalog(request).drop_table(table.name()[-2:])
        else:
            table.append(table.scan(limit=1).to_arrow())
        return {}

    def lsns(self, request):
        """The tarn.lsn of every snapshot a table still has, oldest first."""
        try:
            snapshots = self.load(request).metadata.snapshots
        except NoSuchTableError:
            return {"lsns": []}
        found = [s.summary.additional_properties.get("tarn.lsn") for s in snapshots if s.summary]
        return {"lsns": [lsn for lsn in found if lsn]}

    def query(self, request):
        raise NotImplementedError("PyIceberg runs no SQL")


def expression(term):
    op, column = term["op"], ex.Reference(term["column"])
    if op == "IS NULL":
        return ex.IsNull(column)
    if op == "IS NOT NULL":
        return ex.NotNull(column)
    if op == "LIKE":
        return ex.StartsWith(column, term["value"])
    value = canon.parse(term["type"], term["value"])
    if value != value:
        return {"=": ex.IsNaN, "<>": ex.NotNaN}[op](column)
    kinds = {"=": ex.EqualTo, "<>": ex.NotEqualTo, "<": ex.LessThan, "<=": ex.LessThanOrEqual, ">": ex.GreaterThan, ">=": ex.GreaterThanOrEqual}
    if term["type"] in ("date", "time", "timestamp", "timestamptz"):
        value = value.isoformat()  # its literals of these are texts
    return kinds[op](column, value)
