package materialize

import (
	"encoding/binary"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/syscat"
)

func (s *server) newOID() pg.OID { s.oid++; return s.oid }

func (s *server) newFile(x pg.XID) pg.RelFileLocator {
	loc := catalogFile(s.newOID())
	s.files[loc] = &heapFile{created: s.lsn}
	s.ends[x] = append(s.ends[x], func(committed bool) {
		if !committed {
			s.unlink(loc)
		}
	})
	return loc
}

func (s *server) unlink(loc pg.RelFileLocator) {
	delete(s.files, loc)
	delete(s.dirty, loc)
}

// class writes a table's pg_class row anew.
func (s *server) class(x pg.XID, t *table0, name string, file pg.RelFileLocator) {
	if t.class.Offset != 0 {
		s.kill(catalogFile(1259), t.class, x)
	}
	before := t.class
	t.class = s.catalog(catalogFile(1259), "pg_class", x, map[string]any{
		"oid": int(t.oid), "relname": name, "relnamespace": 2200, "relkind": int('r'), "relpersistence": int('p'), "relam": 2,
		"relfilenode": int(file.Rel), "reltoastrelid": int(t.toastOID),
	})
	t.name = append(t.name, at[string]{x, name})
	t.file = append(t.file, at[pg.RelFileLocator]{x, file})
	s.ends[x] = append(s.ends[x], func(committed bool) {
		if !committed {
			t.class = before
		}
	})
}

func (s *server) attribute(x pg.XID, t *table0, num int, name string, values map[string]any) pg.TID {
	v := map[string]any{"attrelid": int(t.oid), "attname": name, "atttypid": 23, "attlen": 4, "attnum": num, "atttypmod": -1, "attbyval": 1, "attalign": int('i')}
	for k, x := range values {
		v[k] = x
	}
	return s.catalog(catalogFile(1249), "pg_attribute", x, v)
}

var textColumn = map[string]any{"atttypid": 25, "attlen": 0xFFFF, "attbyval": 0}

func (s *server) create(x pg.XID, name string) *table0 {
	t := &table0{oid: s.newOID(), toastOID: s.newOID()}
	t.toast = s.newFile(x)
	s.catalog(catalogFile(1259), "pg_class", x, map[string]any{
		"oid": int(t.toastOID), "relname": "pg_toast_" + name, "relnamespace": 99, "relkind": int('t'), "relpersistence": int('p'), "relam": 2, "relfilenode": int(t.toast.Rel),
	})
	s.class(x, t, name, s.newFile(x))
	s.attribute(x, t, 1, "id", nil)
	s.attribute(x, t, 2, "t", textColumn)
	s.tables = append(s.tables, t)
	return t
}

func (s *server) rename(x pg.XID, t *table0, name string) { s.class(x, t, name, last(s, t.file, x)) }

// rewrite gives a table a new file and, unless it is a truncation, its rows again (VACUUM FULL).
func (s *server) rewrite(x pg.XID, t *table0, keep bool) {
	old := last(s, t.file, x)
	file := s.newFile(x)
	for _, v := range t.rows {
		if keep && v.file == old && s.visible(v.xmin, v.xmax, x) {
			moved := *v
			moved.file, moved.xmax = file, 0
			moved.tid = s.put(file, v.xmin, slices.Clone(s.tuple(old, v.tid)))
			n := s.tuple(file, moved.tid)
			n.SetInfomask(n.Infomask() | pg.HeapXmaxInvalid)
			s.touched(file, moved.tid.Block, x)
			t.rows = append(t.rows, &moved)
		}
	}
	s.class(x, t, last(s, t.name, x), file)
	s.ends[x] = append(s.ends[x], func(committed bool) {
		if committed {
			s.unlink(old)
		}
	})
}

func (s *server) drop(x pg.XID, t *table0) {
	s.kill(catalogFile(1259), t.class, x)
	t.gone = append(t.gone, x)
	file := last(s, t.file, x)
	s.ends[x] = append(s.ends[x], func(committed bool) {
		if committed {
			s.unlink(file)
			s.unlink(t.toast)
		}
	})
}

// addColumn adds an int4 column with a default kept in the catalog (attmissingval), 0 for none.
func (s *server) addColumn(x pg.XID, t *table0, name string, missing int32) (attribute pg.TID) {
	values := map[string]any{}
	if missing != 0 {
		a := binary.LittleEndian.AppendUint32(nil, 28<<2)
		for _, n := range []uint32{1, 0, 23, 1, 1, uint32(missing)} {
			a = binary.LittleEndian.AppendUint32(a, n)
		}
		values = map[string]any{"atthasmissing": 1, "attmissingval": a}
	}
	t.columns = append(t.columns, name)
	return s.attribute(x, t, 2+len(t.columns), name, values)
}

// dropColumn drops the last added column, whose pg_attribute row is given.
func (s *server) dropColumn(x pg.XID, t *table0, attribute pg.TID) {
	s.kill(catalogFile(1249), attribute, x)
	s.attribute(x, t, 2+len(t.columns), "........pg.dropped........", map[string]any{"atttypid": 0, "attisdropped": 1})
	t.columns = t.columns[:len(t.columns)-1]
}

func (t *table0) attrs() []syscat.Attr {
	a := []syscat.Attr{{Name: "id", Num: 1, Len: 4, Align: 'i', ByVal: true}, {Name: "t", Num: 2, Len: -1, Align: 'i'}}
	for i, c := range t.columns {
		a = append(a, syscat.Attr{Name: c, Num: int16(3 + i), Len: 4, Align: 'i', ByVal: true})
	}
	return a
}

// insert adds a row; text beginning with "toast" goes out of line.
func (s *server) insert(x pg.XID, t *table0, id int, text string) *version {
	v := &version{file: last(s, t.file, x), xmin: x, id: id, text: text, natts: 2 + len(t.columns)}
	values := map[string]any{"id": id, "t": text}
	for i, c := range t.columns {
		values[c] = id + i
	}
	if len(text) > 5 && text[:5] == "toast" {
		value := s.newOID()
		for seq, part := range [][]byte{[]byte(text[:5]), []byte(text[5:])} {
			s.put(t.toast, x, form([]syscat.Attr{{Name: "id", Len: 4, Align: 'i'}, {Name: "seq", Len: 4, Align: 'i'}, {Name: "data", Len: -1, Align: 'i'}},
				map[string]any{"id": int(value), "seq": seq, "data": string(part)}))
		}
		p := []byte{1, 18}
		for _, n := range []uint32{uint32(len(text) + 4), uint32(len(text)), uint32(value), uint32(t.toastOID)} {
			p = binary.LittleEndian.AppendUint32(p, n)
		}
		values["t"] = p
	}
	tup := form(t.attrs(), values)
	if p, ok := values["t"].([]byte); ok && len(p) > 0 {
		tup.SetInfomask(tup.Infomask() | pg.HeapHasExternal)
	}
	v.tid = s.put(v.file, x, tup)
	t.rows = append(t.rows, v)
	return v
}

func (s *server) delete(x pg.XID, v *version) {
	s.kill(v.file, v.tid, x)
	v.xmax = x
}

// killTOAST deletes the chunks of the value inserted last.
func (s *server) killTOAST(x pg.XID, t *table0) {
	f := s.files[t.toast]
	blk := len(f.pages) - 1
	for n := f.pages[blk].NumItems(); n > f.pages[blk].NumItems()-2; n-- {
		s.kill(t.toast, pg.TID{Block: pg.BlockNumber(blk), Offset: pg.OffsetNumber(n)}, x)
	}
}

// vacuum frees the line pointers of rows no one can see any more, and freezes what is committed. As redo does with prune
// records, it marks nothing dirty.
func (s *server) vacuum(t *table0) {
	var rest []*version
	for _, v := range t.rows {
		f := s.files[v.file]
		dead := s.fate[v.xmin] == 'a' || s.fate[v.xmin] == 'c' && v.xmax != 0 && s.fate[v.xmax] == 'c'
		if f == nil || !dead {
			rest = append(rest, v)
			if f != nil && s.fate[v.xmin] == 'c' {
				n := s.tuple(v.file, v.tid)
				n.SetInfomask(n.Infomask() | pg.HeapXminFrozen)
			}
			continue
		}
		t.buried = append(t.buried, v)
		f.pages[v.tid.Block].SetItem(v.tid.Offset, 0)
	}
	t.rows = rest
	if f := s.files[last(s, t.file, 0)]; f != nil {
		for _, page := range f.pages { // PageTruncateLinePointerArray
			for n := page.NumItems(); n > 1 && page.Item(pg.OffsetNumber(n)) == 0; n-- {
				page.SetLower(page.Lower() - 4)
			}
		}
	}
}
