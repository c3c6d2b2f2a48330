"""Reads tables through PyIceberg."""

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import schema_to_pyarrow

import canon


class Reader:
    def __init__(self):
        self.catalogs = {}

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
        scan = self.load(request).scan(selected_fields=tuple(columns) or ("*",))
        for batch in scan.to_arrow_batch_reader():
            summary.add(batch)
        return summary.result()

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
