"""What the engines that speak SQL have in common: a request is a SELECT, and they differ in how things are written.

    quote             an identifier
    literal           a value of an Iceberg type, given as Postgres writes it
    at                the clause that names a snapshot or a moment
    batches           a query's rows as Arrow record batches
    execute           a statement without rows
"""

import pyarrow as pa

import canon


def doubled(name):
    return '"' + name.replace('"', '""') + '"'


def text_literal(text):
    return "'" + text.replace("'", "''") + "'"


class SQLReader:
    quote = staticmethod(doubled)
    plain = ("boolean", "int", "long")  # written as they are

    def close(self):
        """The end of the reader."""

    def prepare(self, request):
        """The name under which the request's warehouse is known."""
        raise NotImplementedError

    def source(self, request, at=""):
        catalog = self.prepare(request)
        return f"{catalog}.{self.quote(request['namespace'])}.{self.quote(request['table'])}{at}"

    def versioned(self, request):
        return self.source(request, self.at(request.get("at") or {}))

    def condition(self, request):
        terms = []
        for term in request.get("where") or []:
            column, op = self.quote(term["column"]), term["op"]
            if op in ("IS NULL", "IS NOT NULL"):
                terms.append(f"{column} {op}")
            elif op == "LIKE":
                terms.append(f"{column} LIKE {text_literal(term['value'] + '%')}")
            else:
                terms.append(f"{column} {op} {self.literal(term['type'], term['value'])}")
        return " WHERE " + " AND ".join(terms) if terms else ""

    def read(self, request):
        columns = request["columns"]
        summary = canon.Summary(columns, request.get("keep", 0))
        wanted = ", ".join(self.quote(c) for c in columns) or "1"
        for batch in self.batches(f"SELECT {wanted} FROM {self.versioned(request)}{self.condition(request)}"):
            # By position: Trino says names in lower case.
            summary.add(pa.RecordBatch.from_arrays(batch.columns, columns) if columns else batch)
        return summary.result()

    def count(self, request):
        """count(*), which an engine may answer from metadata."""
        return {"count": self.one(f"SELECT count(*) FROM {self.versioned(request)}{self.condition(request)}")[0][0].as_py()}

    def bounds(self, request):
        """min and max of the first column, which an engine may answer from metadata."""
        column = self.quote(request["columns"][0])
        row = self.one(f"SELECT min({column}), max({column}) FROM {self.versioned(request)}")
        return {"rows": [[tok.decode("utf-8", "surrogateescape") for value in row for tok in canon.tokens(value)]]}

    def one(self, sql):
        """The columns of a result of one row."""
        for batch in self.batches(sql):
            if batch.num_rows:
                return [batch.column(i).slice(0, 1) for i in range(batch.num_columns)]
        raise ValueError(f"no rows: {sql}")

    def write(self, request):
        """Tries to change the lake. The names are there, so that what is refused is the change."""
        self.execute(request["sql"].replace("TABLE_NAME", self.source(request)))
        return {}

    def lsns(self, request):
        raise NotImplementedError("it shows no snapshot summaries")

    def query(self, request):
        """The rows of a query, as text; tables are named lake.namespace.table."""
        catalog = self.prepare(request)
        rows = []
        for batch in self.batches(request["sql"].replace("lake.", catalog + ".")):
            columns = [batch.column(i).to_pylist() for i in range(batch.num_columns)]
            rows += [[None if v is None else str(v) for v in row] for row in zip(*columns)]
        return {"result": rows}
