package types

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// testServer starts a server of that major; the one user of it is the test.
func testServer(t testing.TB, major int) (*pgtest.Server, *pgx.Conn) {
	t.Helper()
	s := pgtest.NewTestServer(t, pgtest.Options{Major: major, Settings: map[string]string{"autovacuum": "off"}})
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	return s, conn
}

// query returns all rows as text, nulls as nil.
func query(t testing.TB, conn *pgx.Conn, sql string) [][]*string {
	t.Helper()
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out [][]*string
	for _, res := range results {
		for _, r := range res.Rows {
			row := make([]*string, len(r))
			for i, v := range r {
				if v != nil {
					s := string(v)
					row[i] = &s
				}
			}
			out = append(out, row)
		}
	}
	return out
}

func one(t testing.TB, conn *pgx.Conn, sql string) string {
	t.Helper()
	rows := query(t, conn, sql)
	if len(rows) != 1 || rows[0][0] == nil {
		t.Fatalf("%s gave %d rows", sql, len(rows))
	}
	return *rows[0][0]
}

// catalog is a Resolver from a server's catalogs.
type catalog struct {
	types   map[pg.OID]PGType
	labels  map[pg.OID]string
	attrs   map[pg.OID][]Attribute
	subtype map[pg.OID]pg.OID
}

func (c *catalog) Attributes(rel pg.OID) ([]Attribute, bool) { a, ok := c.attrs[rel]; return a, ok }
func (c *catalog) Subtype(oid pg.OID) (pg.OID, bool)         { s, ok := c.subtype[oid]; return s, ok }

func (c *catalog) Type(oid pg.OID) (PGType, bool)      { t, ok := c.types[oid]; return t, ok }
func (c *catalog) EnumLabel(oid pg.OID) (string, bool) { l, ok := c.labels[oid]; return l, ok }

func loadCatalog(t testing.TB, conn *pgx.Conn) *catalog {
	c := &catalog{types: map[pg.OID]PGType{}, labels: map[pg.OID]string{}, attrs: map[pg.OID][]Attribute{}, subtype: map[pg.OID]pg.OID{}}
	number := func(s *string) int64 {
		n, err := strconv.ParseInt(*s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, r := range query(t, conn, `select t.oid, typname, nspname, typtype, typcategory, typlen, typbyval, typalign,
		typelem::oid, typbasetype, typtypmod, typrelid, typndims, coalesce(regexp_replace(probin, '^.*/|\.so$', '', 'g'), ''), prosrc
		from pg_type t join pg_namespace n on n.oid = typnamespace left join pg_proc p on p.oid = typinput`) {
		num := func(i int) int64 { return number(r[i]) }
		ty := PGType{OID: pg.OID(num(0)), Name: *r[1], Namespace: *r[2], Typtype: (*r[3])[0], Category: (*r[4])[0], Len: int16(num(5)),
			ByVal: *r[6] == "t", Align: (*r[7])[0], Elem: pg.OID(num(8)), BaseType: pg.OID(num(9)), Typmod: int32(num(10)), Relid: pg.OID(num(11)), Dims: int(num(12)), Input: Func{*r[13], *r[14]}}
		c.types[ty.OID] = ty
	}
	for _, r := range query(t, conn, `select attrelid, attnum, attname, atttypid, atttypmod, attndims, attlen, attalign, attbyval, attisdropped
		from pg_attribute a join pg_class c on c.oid = attrelid and relkind in ('c', 'r') where attnum > 0 order by 1, 2`) {
		a := Attribute{Name: *r[2], Source: Source{Type: pg.OID(number(r[3])), Typmod: int32(number(r[4])), Dims: int(number(r[5]))}}
		a.Attr = tuple.Attr{Num: int16(number(r[1])), Len: int16(number(r[6])), Align: (*r[7])[0], ByVal: *r[8] == "t", Dropped: *r[9] == "t"}
		c.attrs[pg.OID(number(r[0]))] = append(c.attrs[pg.OID(number(r[0]))], a)
	}
	for _, r := range query(t, conn, `select rngtypid, rngsubtype, rngmultitypid from pg_range`) {
		c.subtype[pg.OID(number(r[0]))], c.subtype[pg.OID(number(r[2]))] = pg.OID(number(r[1])), pg.OID(number(r[0]))
	}
	for _, r := range query(t, conn, `select oid, enumlabel from pg_enum`) {
		oid, _ := strconv.ParseUint(*r[0], 10, 32)
		c.labels[pg.OID(oid)] = *r[1]
	}
	return c
}

// heapRow is a column's datum on disk, copied, and its text by the server.
type heapRow struct {
	datum tuple.Datum
	text  *string
}

// readColumn gives the rows of table(id int, v ...) from the server's files, beside expr of each as the server prints
// it. TOAST is read through the server.
func readColumn(t testing.TB, srv *pgtest.Server, conn *pgx.Conn, table, expr string) []heapRow {
	t.Helper()
	query(t, conn, "checkpoint")
	attrs := []tuple.Attr{}
	for _, r := range query(t, conn, `select attnum, attlen, attalign, attbyval from pg_attribute where attrelid = '`+table+`'::regclass and attnum > 0 order by attnum`) {
		num, _ := strconv.Atoi(*r[0])
		length, _ := strconv.Atoi(*r[1])
		attrs = append(attrs, tuple.Attr{Num: int16(num), Len: int16(length), Align: (*r[2])[0], ByVal: *r[3] == "t"})
	}
	desc := tuple.NewDesc(attrs)
	want := query(t, conn, "select ctid, "+expr+" from "+table)
	byTID := map[string]*string{}
	for _, r := range want {
		byTID[*r[0]] = r[1]
	}
	var rows []heapRow
	out := make([]tuple.Datum, desc.Len())
	file := readRelation(t, srv, one(t, conn, "select pg_relation_filepath('"+table+"')"))
	for blk := 0; blk < len(file)/pg.BlockSize; blk++ {
		page := pg.Page(file[blk*pg.BlockSize : (blk+1)*pg.BlockSize])
		for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
			tup, ok := page.Tuple(off)
			if !ok {
				continue
			}
			text, visible := byTID[pg.TID{Block: pg.BlockNumber(blk), Offset: off}.String()]
			if !visible {
				continue
			}
			if err := desc.Deform(tup, out); err != nil {
				t.Fatalf("%s (%d,%d): %v", table, blk, off, err)
			}
			rows = append(rows, heapRow{datum: out[1], text: text})
		}
	}
	if len(rows) != len(want) {
		t.Fatalf("%s: %d rows in the file, the server has %d", table, len(rows), len(want))
	}
	return rows
}

// toastOf reads TOAST values with SQL.
type toastOf struct {
	t    testing.TB
	conn *pgx.Conn
}

func (d toastOf) Fetch(rel, value pg.OID, _ int, dst []byte) ([]byte, error) {
	for _, r := range query(d.t, d.conn, fmt.Sprintf("select encode(chunk_data, 'hex') from %s where chunk_id = %d order by chunk_seq",
		one(d.t, d.conn, fmt.Sprintf("select %d::regclass", rel)), value)) {
		b, err := hex.DecodeString(*r[0])
		if err != nil {
			return nil, err
		}
		dst = append(dst, b...)
	}
	return dst, nil
}

// show prints the last value of a builder as Postgres would with its defaults (ISO dates, UTC); ok is false for null.
type shown struct {
	null bool
	text string
}

// values turns everything appended to a top-level builder into text, one entry per row.
func values(b *column.Builder) []shown {
	leaf := newCursor(b)
	var out []shown
	for !leaf.done() {
		out = append(out, leaf.next(b))
	}
	return out
}

// cursor walks the leaves of a builder and puts values together as a reader of Parquet does.
type cursorState struct{ def, val int }
type leafCursor struct {
	leaves []*column.Builder
	at     []cursorState
}

func newCursor(b *column.Builder) *leafCursor {
	return &leafCursor{leaves: b.Leaves(), at: make([]cursorState, len(b.Leaves()))}
}

func (c *leafCursor) done() bool { return c.at[0].def >= len(c.leaves[0].Def) }

func (c *leafCursor) next(b *column.Builder) shown { return c.node(b.Field.Type, 0, 0, 0) }

func leafCount(t lake.Type) (n int) {
	for _, m := range t.Members() {
		n += leafCount(m.Type)
	}
	return max(n, 1)
}

// skip passes one absent value of the leaves of t.
func (c *leafCursor) skip(t lake.Type, first int) {
	for i := range leafCount(t) {
		c.at[first+i].def++
	}
}

// node takes one value of a type whose leaves begin at first; def is its definition level when it is null, rep the
// repetition level around it.
func (c *leafCursor) node(t lake.Type, first int, def, rep int16) shown {
	level := c.leaves[first].Def[c.at[first].def]
	switch t.Kind {
	case lake.Struct:
		if level <= def {
			c.skip(t, first)
			return shown{null: true}
		}
		var parts []string
		for _, m := range t.Fields {
			parts = append(parts, c.node(m.Type, first, def+1, rep).member())
			first += leafCount(m.Type)
		}
		return shown{text: strings.Join(parts, " ")}
	case lake.List, lake.Map:
		if level <= def+1 {
			c.skip(t, first)
			return shown{null: level <= def, text: "{}"}
		}
		var items []string
		for more := true; more; {
			item := ""
			if t.Kind == lake.Map {
				item = c.node(t.Key.Type, first, def+1, rep+1).item() + "=>"
			}
			item += c.node(t.Elem.Type, first+leafCount(t)-leafCount(t.Elem.Type), def+2, rep+1).item()
			items = append(items, item)
			more = c.at[first].def < len(c.leaves[first].Rep) && c.leaves[first].Rep[c.at[first].def] > rep
		}
		return shown{text: "{" + strings.Join(items, ",") + "}"}
	}
	return c.primitive(first)
}

func (s shown) member() string {
	if s.null {
		return "NULL"
	}
	return s.text
}

func (s shown) item() string {
	if s.null {
		return "NULL"
	}
	return strconv.Quote(s.text)
}

func (c *leafCursor) primitive(i int) shown {
	b, at := c.leaves[i], &c.at[i]
	at.def++
	if b.Def[at.def-1] < b.MaxDef {
		return shown{null: true}
	}
	v := at.val
	at.val++
	fixed := func(w int) []byte { return b.Data[w*v : w*v+w] }
	switch t := b.Field.Type; t.Kind {
	case lake.Bool:
		return shown{text: map[bool]string{true: "true", false: "false"}[b.Bools[v]]}
	case lake.Int:
		return shown{text: strconv.Itoa(int(b.Int32s[v]))}
	case lake.Long:
		return shown{text: strconv.FormatInt(b.Int64s[v], 10)}
	case lake.Float:
		return shown{text: string(appendFloat32Text(b.Float[v]))}
	case lake.Double:
		return shown{text: string(appendFloat(nil, binary.LittleEndian.AppendUint64(nil, math.Float64bits(b.Double[v]))))}
	case lake.String:
		return shown{text: string(b.Value(v))}
	case lake.Binary:
		return shown{text: `\x` + hex.EncodeToString(b.Value(v))}
	case lake.UUID:
		u := hex.EncodeToString(fixed(16))
		return shown{text: u[:8] + "-" + u[8:12] + "-" + u[12:16] + "-" + u[16:20] + "-" + u[20:]}
	case lake.Date:
		return shown{text: time.Unix(int64(b.Int32s[v])*86400, 0).UTC().Format("2006-01-02")}
	case lake.Time:
		return shown{text: time.UnixMicro(b.Int64s[v]).UTC().Format("15:04:05.999999")}
	case lake.Timestamp:
		return shown{text: time.UnixMicro(b.Int64s[v]).UTC().Format("2006-01-02 15:04:05.999999")}
	case lake.TimestampTZ:
		return shown{text: time.UnixMicro(b.Int64s[v]).UTC().Format("2006-01-02 15:04:05.999999+00")}
	case lake.Decimal:
		n := new(big.Int)
		switch {
		case t.Precision <= 9:
			n.SetInt64(int64(b.Int32s[v]))
		case t.Precision <= 18:
			n.SetInt64(b.Int64s[v])
		default:
			w := column.DecimalBytes(t.Precision)
			if n.SetBytes(fixed(w)); fixed(w)[0] >= 0x80 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*w)))
			}
		}
		return shown{text: decimalText(n, t.Scale)}
	}
	panic("kind")
}

func decimalText(n *big.Int, scale int) string {
	s, sign := new(big.Int).Abs(n).String(), ""
	if n.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + s
	}
	for len(s) <= scale {
		s = "0" + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

func appendFloat32Text(f float32) []byte {
	switch {
	case f != f:
		return []byte("NaN")
	case math.IsInf(float64(f), 0):
		return appendFloat(nil, binary.LittleEndian.AppendUint64(nil, math.Float64bits(float64(f))))
	}
	e := strconv.FormatFloat(float64(f), 'e', -1, 32)
	if exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:]); f != 0 && (exp < -4 || exp >= 6) {
		return []byte(e)
	}
	return strconv.AppendFloat(nil, float64(f), 'f', -1, 32)
}
