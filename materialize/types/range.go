package types

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// Bits of a range's flags byte (utils/rangetypes.h).
const (
	rangeEmpty     = 0x01
	rangeLowerIncl = 0x02
	rangeUpperIncl = 0x04
	rangeLowerInf  = 0x08
	rangeUpperInf  = 0x10
	rangeFlags     = rangeEmpty | rangeLowerIncl | rangeUpperIncl | rangeLowerInf | rangeUpperInf
)

// rangeType is what is needed to take ranges of one type apart.
type rangeType struct {
	oid  pg.OID
	sub  PGType // rngsubtype
	elem *codec
	mask int // alignment of sub in bytes - 1
}

// mapRange makes a struct of a range: lower and upper, null where there is no bound, and bounds, which says which of them
// belong to the range, as range_out does: "[)", "(]", "[]", "()" or "empty".
func (m *mapper) mapRange(t PGType, prev *lake.Type) (lake.Type, *codec, error) {
	lt, r, err := m.mapBounds(t, prev)
	if err != nil {
		return lake.Type{}, nil, err
	}
	return lt, &codec{varlena: true, value: r.value}, nil
}

func (m *mapper) mapBounds(t PGType, prev *lake.Type) (lake.Type, *rangeType, error) {
	oid, ok := m.resolver.Subtype(t.OID)
	if !ok {
		return lake.Type{}, nil, unsupported("range %s is not in pg_range", t.name())
	}
	sub, ok := m.resolver.Type(oid)
	if !ok {
		return lake.Type{}, nil, unsupported("subtype %d of %s is not in pg_type", oid, t.name())
	}
	m.shape = fmt.Appendf(m.shape, "r%d:%d:", t.OID, oid)
	r := &rangeType{oid: t.OID, sub: sub, mask: tuple.AlignOf(sub.Align) - 1}
	lt := lake.Type{Kind: lake.Struct}
	for i, name := range []string{"lower", "upper"} {
		f, c, err := m.mapMember(name, Source{Type: oid, Typmod: -1}, member(prev, lake.Struct, i))
		if err != nil {
			return lake.Type{}, nil, within(err, "bounds of %s", t.name())
		}
		lt.Fields, r.elem = append(lt.Fields, f), c
	}
	f := m.field("bounds", member(prev, lake.Struct, 2))
	f.Type = stringType()
	lt.Fields = append(lt.Fields, f)
	return lt, r, nil
}

// value reads RangeType (utils/rangetypes.h, range_serialize). Offsets count from the start of the varlena, its 4-byte
// header included:
//
//	4  range type oid
//	8  lower bound, if there is one; then the upper one, aligned as its type, if there is one
//	   flags, the last byte
func (r *rangeType) value(x *Env, v []byte, b *column.Builder) error {
	if len(v) < 5 {
		return corrupt("range of %d bytes", len(v))
	}
	if got := pg.OID(le.Uint32(v)); got != r.oid {
		return corrupt("range of type %d in a column of %d", got, r.oid)
	}
	end := len(v) - 1
	at, err := r.bounds(x, v[:end], 4, v[end], b)
	if err == nil && at != end {
		err = corrupt("range of %d bytes ends at byte %d", len(v), at+1)
	}
	return err
}

// bounds adds a range whose bounds lie from byte at of v on, and says where they end.
func (r *rangeType) bounds(x *Env, v []byte, at int, flags byte, b *column.Builder) (int, error) {
	// range_serialize has no other bit in an empty range, and no bound that is both infinite and inclusive.
	if flags&^rangeFlags != 0 || flags&rangeEmpty != 0 && flags != rangeEmpty ||
		flags&(rangeLowerInf|rangeLowerIncl) == rangeLowerInf|rangeLowerIncl || flags&(rangeUpperInf|rangeUpperIncl) == rangeUpperInf|rangeUpperIncl {
		return at, corrupt("range with flags %#02x", flags)
	}
	var err error
	m := b.AppendStruct()
	if flags&(rangeEmpty|rangeLowerInf) != 0 {
		m[0].AppendNull()
	} else if at, err = r.bound(x, v, at, m[0]); err != nil {
		return at, err
	}
	if flags&(rangeEmpty|rangeUpperInf) != 0 {
		m[1].AppendNull()
	} else if at, err = r.bound(x, v, at, m[1]); err != nil {
		return at, err
	}
	m[2].AppendBytes(boundsText(flags))
	return at, nil
}

// bound adds the value at byte at of v and says where it ends. A varlena with a short header is not aligned
// (att_align_pointer).
func (r *rangeType) bound(x *Env, v []byte, at int, b *column.Builder) (int, error) {
	if r.sub.Len != -1 || at < len(v) && v[at] == 0 {
		at = (at+4+r.mask)&^r.mask - 4
	}
	if at > len(v) {
		return at, corrupt("bound of a range at byte %d of %d", at, len(v))
	}
	e, size, err := element(v[at:], &r.sub, r.elem)
	if err != nil {
		return at, err
	}
	return at + size, r.elem.value(x, e, b)
}

// boundsText is as range_deparse puts it around the bounds.
func boundsText(flags byte) []byte {
	switch {
	case flags&rangeEmpty != 0:
		return []byte("empty")
	case flags&rangeLowerIncl != 0 && flags&rangeUpperIncl != 0:
		return []byte("[]")
	case flags&rangeLowerIncl != 0:
		return []byte("[)")
	case flags&rangeUpperIncl != 0:
		return []byte("(]")
	}
	return []byte("()")
}

// mapMultirange makes a list of a multirange's ranges.
func (m *mapper) mapMultirange(t PGType, prev *lake.Type) (lake.Type, *codec, error) {
	oid, ok := m.resolver.Subtype(t.OID)
	rt, there := m.resolver.Type(oid)
	if !ok || !there || rt.Typtype != 'r' {
		return lake.Type{}, nil, unsupported("multirange %s is not in pg_range", t.name())
	}
	m.shape = fmt.Appendf(m.shape, "m%d:", t.OID)
	was := member(prev, lake.List, 0)
	f := m.field("element", was)
	var wasElem *lake.Type
	if was != nil {
		wasElem = &was.Type
	}
	lt, r, err := m.mapBounds(rt, wasElem)
	if err != nil {
		return lake.Type{}, nil, err
	}
	f.Type = lt
	return lake.Type{Kind: lake.List, Elem: &f}, multirangeCodec(t.OID, r), nil
}

// multirangeCodec reads MultirangeType (utils/adt/multirangetypes.c, write_multirange_data). Offsets count from the start
// of the varlena, its 4-byte header included:
//
//	 4  multirange type oid, 8  count uint32
//	12  count-1 items uint32, one for each range but the first: where its bounds begin, counted from the first one's if the
//	    top bit is set, else from those of the range before
//	    count flags, one byte each
//	    bounds, aligned as their type
func multirangeCodec(oid pg.OID, r *rangeType) *codec {
	return &codec{varlena: true, value: func(x *Env, v []byte, b *column.Builder) error {
		if len(v) < 8 {
			return corrupt("multirange of %d bytes", len(v))
		}
		if got := pg.OID(le.Uint32(v)); got != oid {
			return corrupt("multirange of type %d in a column of %d", got, oid)
		}
		n := int(le.Uint32(v[4:]))
		if n > (len(v)-8+4)/5 {
			return corrupt("multirange of %d ranges in %d bytes", n, len(v))
		}
		list := b.AppendList(n)
		if n == 0 {
			return nil
		}
		flags := 8 + 4*(n-1)
		first := (flags+n+4+r.mask)&^r.mask - 4
		at := first
		for i := range n {
			if i > 0 {
				item := le.Uint32(v[8+4*(i-1):])
				if item&(1<<31) != 0 {
					at = first + int(item&^(1<<31))
				} else {
					at += int(item)
				}
			}
			if at > len(v) {
				return corrupt("range %d of a multirange at byte %d of %d", i, at, len(v))
			}
			if _, err := r.bounds(x, v, at, v[flags+i], list); err != nil {
				return err
			}
		}
		return nil
	}}
}
