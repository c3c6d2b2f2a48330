package materialize

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/syscat"
	"github.com/tarn-db/tarn/materialize/tuple"
	"github.com/tarn-db/tarn/pageserver"
)

// server is a Postgres of hand-made heap pages: catalogs and tables in memory, transactions that end when the test says
// so, and beside the pages a plain list of row versions that says which rows there are. It implements Pages with the
// dirty sets of a page server's timeline.
type server struct {
	t     testing.TB
	files map[pg.RelFileLocator]*heapFile
	fate  map[pg.XID]byte // 'c' committed, 'a' aborted; none while it is open
	ends  map[pg.XID][]func(committed bool)
	open  map[pg.XID]map[pg.RelFileLocator]*roaring.Bitmap
	xid   pg.XID
	oid   pg.OID
	lsn   pg.LSN

	commits  map[pg.XID]pageserver.Commit // since the last publication
	ended    map[pg.XID]pageserver.Commit // all
	deleters []deleted0

	dirty, taken map[pg.RelFileLocator]*roaring.Bitmap
	tables       []*table0
}

type deleted0 struct {
	rel pg.RelFileLocator
	tid pg.TID
	xid pg.XID
}

type heapFile struct {
	created pg.LSN
	pages   []pg.Page
}

// at is one value of something that changes with transactions.
type at[T any] struct {
	xid pg.XID
	v   T
}

// table0 is a table of columns id int4, t text and any that were added.
type table0 struct {
	oid, toastOID pg.OID
	class         pg.TID // its newest pg_class row
	name          []at[string]
	file          []at[pg.RelFileLocator]
	toast         pg.RelFileLocator
	gone          []pg.XID // drops
	rows          []*version
	columns       []string // beyond id and t
	buried        []*version
}

type version struct {
	file       pg.RelFileLocator
	tid        pg.TID
	xmin, xmax pg.XID
	id         int
	text       string
	natts      int
}

const testDB pg.OID = 5

func catalogFile(oid pg.OID) pg.RelFileLocator {
	return pg.RelFileLocator{Spc: 1663, DB: testDB, Rel: oid}
}

var databaseFile = pg.RelFileLocator{Spc: pg.GlobalTablespace, Rel: 1262}

// newServer makes a database app with the types int4 and text.
func newServer(t testing.TB) *server {
	s := &server{
		t: t, files: map[pg.RelFileLocator]*heapFile{}, fate: map[pg.XID]byte{}, ends: map[pg.XID][]func(bool){}, xid: 700, oid: pg.FirstNormalOID, lsn: 0x1000,
		commits: map[pg.XID]pageserver.Commit{}, ended: map[pg.XID]pageserver.Commit{},
		open: map[pg.XID]map[pg.RelFileLocator]*roaring.Bitmap{}, dirty: map[pg.RelFileLocator]*roaring.Bitmap{},
	}
	x := s.begin()
	s.files[databaseFile] = &heapFile{created: s.lsn}
	s.catalog(databaseFile, "pg_database", x, map[string]any{"oid": int(testDB), "datname": "app", "dattablespace": 1663, "encoding": 6, "datallowconn": 1})
	for _, oid := range []pg.OID{1259, 1249, 1247, 1255, 2615, 3501, 2611, 3541} {
		s.files[catalogFile(oid)] = &heapFile{created: s.lsn}
	}
	for oid, name := range map[pg.OID]string{2615: "pg_namespace", 3501: "pg_enum", 2611: "pg_inherits", 3541: "pg_range"} {
		s.catalog(catalogFile(1259), "pg_class", x, map[string]any{
			"oid": int(oid), "relname": name, "relnamespace": 11, "relkind": int('r'), "relpersistence": int('p'), "relam": 2, "relfilenode": int(oid),
		})
	}
	s.catalog(catalogFile(2615), "pg_namespace", x, map[string]any{"oid": 11, "nspname": "pg_catalog"})
	s.catalog(catalogFile(2615), "pg_namespace", x, map[string]any{"oid": 2200, "nspname": "public"})
	for _, typ := range []map[string]any{
		{"oid": 23, "typname": "int4", "typlen": 4, "typbyval": 1, "typcategory": int('N')},
		{"oid": 25, "typname": "text", "typlen": 0xFFFF, "typcategory": int('S')},
		{"oid": 20000, "typname": "citext", "typlen": 0xFFFF, "typcategory": int('S')},
		{"oid": 1082, "typname": "date", "typlen": 4, "typbyval": 1, "typcategory": int('D')},
		{"oid": 790, "typname": "money", "typlen": 8, "typbyval": 1, "typcategory": int('N')},
	} {
		typ["typtype"], typ["typalign"], typ["typtypmod"], typ["typnamespace"] = int('b'), int('i'), -1, 11
		s.catalog(catalogFile(1247), "pg_type", x, typ)
	}
	s.commit(x)
	return s
}

func (s *server) begin() pg.XID {
	s.xid++
	s.open[s.xid] = map[pg.RelFileLocator]*roaring.Bitmap{}
	return s.xid
}

func (s *server) end(fate byte, xids []pg.XID) {
	s.lsn += 0x100
	for _, x := range xids {
		s.fate[x] = fate
		if fate == 'c' {
			s.ended[x] = pageserver.Commit{XID: 1<<32 + pg.FullXID(xids[0]), LSN: s.lsn, Time: time.UnixMicro(int64(s.lsn))}
			s.commits[x] = s.ended[x]
		}
		for loc, blocks := range s.open[x] {
			if s.files[loc] != nil && fate == 'c' {
				s.dirtyOf(loc).Or(blocks)
			}
		}
		delete(s.open, x)
		for _, fn := range slices.Backward(s.ends[x]) { // what was done last is undone first
			fn(fate == 'c')
		}
		delete(s.ends, x)
	}
}

// commit commits a transaction with its subtransactions.
func (s *server) commit(xids ...pg.XID) { s.end('c', xids) }
func (s *server) abort(xids ...pg.XID)  { s.end('a', xids) }

// do runs fn in a transaction of its own.
func (s *server) do(fn func(x pg.XID)) {
	x := s.begin()
	fn(x)
	s.commit(x)
}

func (s *server) dirtyOf(loc pg.RelFileLocator) *roaring.Bitmap {
	if s.dirty[loc] == nil {
		s.dirty[loc] = roaring.New()
	}
	return s.dirty[loc]
}

// touched books a change of a block by a transaction.
func (s *server) touched(loc pg.RelFileLocator, blk pg.BlockNumber, x pg.XID) {
	s.lsn += 0x10
	s.dirtyOf(loc).Add(uint32(blk))
	if o := s.open[x]; o != nil {
		if o[loc] == nil {
			o[loc] = roaring.New()
		}
		o[loc].Add(uint32(blk))
	}
}

// form makes a heap tuple (heap_form_tuple); a value that is not given is null if its type is a varlena, else zero.
func form(attrs []syscat.Attr, values map[string]any) pg.HeapTuple {
	const hoff = 40 // room for 136 null bits
	b := make([]byte, hoff)
	b[22] = hoff
	mask := uint16(pg.HeapXmaxInvalid)
	for i, a := range attrs {
		v, given := values[a.Name]
		if !given && a.Len < 0 {
			mask |= pg.HeapHasNull
			continue
		}
		b[23+i/8] |= 1 << (i % 8)
		raw, isRaw := v.([]byte)
		if align := tuple.AlignOf(a.Align); !isRaw || len(raw) > 0 && raw[0]&1 == 0 {
			for len(b)%align != 0 {
				b = append(b, 0)
			}
		}
		switch v := v.(type) {
		case nil:
			b = append(b, make([]byte, a.Len)...)
		case int:
			b = append(b, binary.LittleEndian.AppendUint64(nil, uint64(v))[:a.Len]...)
		case string:
			if a.Len == 64 {
				b = append(b, append([]byte(v), make([]byte, 64-len(v))...)...)
			} else {
				b = append(binary.LittleEndian.AppendUint32(b, uint32(len(v)+4)<<2), v...)
			}
		case []byte:
			b = append(b, v...)
		}
	}
	t := pg.HeapTuple(b)
	t.SetInfomask(mask | pg.HeapHasVarWidth)
	t.SetInfomask2(uint16(len(attrs)))
	return t
}

// put places a tuple: on a free line pointer if there is one, else behind the last.
func (s *server) put(loc pg.RelFileLocator, x pg.XID, t pg.HeapTuple) pg.TID {
	f := s.files[loc]
	t.SetXmin(x)
	for blk := 0; ; blk++ {
		if blk == len(f.pages) {
			p := make(pg.Page, pg.BlockSize)
			p.Init(0)
			f.pages = append(f.pages, p)
		}
		p := f.pages[blk]
		size := pg.MaxAlign(len(t))
		if int(p.Upper())-int(p.Lower()) < size+4 {
			continue
		}
		off := pg.OffsetNumber(1)
		for int(off) <= p.NumItems() && p.Item(off).State() != pg.LPUnused {
			off++
		}
		if int(off) > p.NumItems() {
			p.SetLower(p.Lower() + 4)
		}
		p.SetUpper(p.Upper() - uint16(size))
		copy(p[p.Upper():], t)
		p.SetItem(off, pg.MakeItemID(int(p.Upper()), pg.LPNormal, len(t)))
		s.touched(loc, pg.BlockNumber(blk), x)
		return pg.TID{Block: pg.BlockNumber(blk), Offset: off}
	}
}

func (s *server) tuple(loc pg.RelFileLocator, tid pg.TID) pg.HeapTuple {
	t, ok := s.files[loc].pages[tid.Block].Tuple(tid.Offset)
	if !ok {
		s.t.Fatalf("no tuple at %s of %s", tid, loc)
	}
	return t
}

// kill sets a tuple's xmax.
func (s *server) kill(loc pg.RelFileLocator, tid pg.TID, x pg.XID) {
	t := s.tuple(loc, tid)
	t.SetXmax(x)
	s.deleters = append(s.deleters, deleted0{loc, tid, x})
	t.SetInfomask(t.Infomask() &^ pg.HeapXmaxInvalid)
	s.touched(loc, tid.Block, x)
}

func (s *server) catalog(loc pg.RelFileLocator, name string, x pg.XID, values map[string]any) pg.TID {
	return s.put(loc, x, form(syscat.Lookup(s.Major(), name).Attrs, values))
}

func (s *server) visible(xmin, xmax, me pg.XID) bool {
	seen := func(x pg.XID) bool { return x == me || s.fate[x] == 'c' }
	return seen(xmin) && (xmax == 0 || !seen(xmax))
}

// last is the value that transaction me sees; 0 sees what is committed.
func last[T any](s *server, l []at[T], me pg.XID) (v T) {
	for _, a := range l {
		if a.xid == me && me != 0 || s.fate[a.xid] == 'c' {
			v = a.v
		}
	}
	return v
}

// want is every table's rows as committed, by name.
func (s *server) want() map[string][]string {
	out := map[string][]string{}
	for _, t := range s.tables {
		name := last(s, t.name, 0)
		if name == "" || slices.ContainsFunc(t.gone, func(x pg.XID) bool { return s.fate[x] == 'c' }) {
			continue
		}
		rows := []string{}
		for _, v := range t.rows {
			if v.file == last(s, t.file, 0) && s.visible(v.xmin, v.xmax, 0) {
				rows = append(rows, fmt.Sprintf("%d|%s", v.id, v.text))
			}
		}
		slices.Sort(rows)
		out["app.public."+name] = rows
	}
	return out
}
