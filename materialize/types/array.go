package types

import (
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// dimsMax is how many dimensions an array may have (MAXDIM).
const dimsMax = 6

// mapArray makes a list of an array type, or lists of lists of one that was declared with more than one dimension, as in
// int[][]. Postgres does not hold values to the declaration: one with other dimensions is out of the lake's range. The
// column's typmod is its elements'.
func (m *mapper) mapArray(t PGType, src Source, prev *lake.Type) (lake.Type, *codec, error) {
	el, ok := m.resolver.Type(t.Elem)
	if !ok {
		return lake.Type{}, nil, unsupported("element type %d of %s is not in pg_type", t.Elem, t.name())
	}
	dims := src.Dims
	if dims < 1 || dims > dimsMax {
		dims = 1
	}
	lists := make([]lake.Field, dims) // their elements, the outermost list's first
	for i := range lists {
		was := member(prev, lake.List, 0)
		if i == dims-1 {
			f, c, err := m.mapMember("element", Source{Type: t.Elem, Typmod: src.Typmod}, was)
			if err != nil {
				return lake.Type{}, nil, err
			}
			lists[i] = f
			return nest(lists), arrayCodec(el, c, dims), nil
		}
		lists[i] = m.field("element", was)
		prev = nil
		if was != nil {
			prev = &was.Type
		}
	}
	panic("BUG: an array without dimensions")
}

// nest makes a list of the first element, which is a list of the second, and so on.
func nest(elements []lake.Field) lake.Type {
	for i := len(elements) - 1; i > 0; i-- {
		elements[i-1].Type = lake.Type{Kind: lake.List, Elem: &elements[i]}
	}
	return lake.Type{Kind: lake.List, Elem: &elements[0]}
}

// array is an ArrayType (utils/array.h). Offsets count from the start of the varlena, its 4-byte header included:
//
//	 4  ndim int32, 8  dataoffset int32 (0: no nulls), 12  element type oid
//	16  ndim dimensions int32, then ndim lower bounds int32
//	    null bitmap, if dataoffset is not 0: a set bit is an element that is there
//	    elements, from dataoffset or the next multiple of 8
type array struct {
	v     []byte
	dims  [dimsMax]int
	ndim  int
	nulls []byte // nil if there is no null
	at    int    // in v, of the next element
	i     int    // number of the next element

	el   *PGType
	mask int // alignment of elements in bytes - 1
	elem *codec
}

// parse reads the header. An array without elements has no dimension.
func (a *array) parse(v []byte) error {
	if len(v) < 12 {
		return corrupt("array of %d bytes", len(v))
	}
	a.v = v
	ndim, dataOffset := le.Uint32(v), int(le.Uint32(v[4:]))
	if ndim > dimsMax || len(v) < 12+8*int(ndim) {
		return corrupt("array of %d dimensions in %d bytes", ndim, len(v))
	}
	a.ndim = int(ndim)
	n := 1
	for i := range a.ndim {
		// Each element is a byte at least, or a bit of the null bitmap.
		if a.dims[i] = int(int32(le.Uint32(v[12+4*i:]))); a.dims[i] < 0 || a.dims[i] > 8*len(v) || a.dims[i] == 0 && a.ndim > 1 {
			return corrupt("array with a dimension of %d in %d bytes", a.dims[i], len(v))
		}
		if n *= a.dims[i]; n > 8*len(v) {
			return corrupt("array of %d elements in %d bytes", n, len(v))
		}
	}
	header := 12 + 8*a.ndim
	a.at = (header+4+7)&^7 - 4
	if dataOffset != 0 {
		if a.at = dataOffset - 4; a.at < header+(n+7)/8 || a.at > len(v) {
			return corrupt("array of %d elements has its first at byte %d of %d", n, dataOffset, len(v))
		}
		a.nulls = v[header:a.at]
	} else if a.ndim > 0 && n > len(v)-a.at {
		return corrupt("array of %d elements in %d bytes", n, len(v))
	}
	return nil
}

// append adds the elements of the dimensions from dim on.
func (a *array) append(x *Env, dim int, b *column.Builder) error {
	list := b.AppendList(a.dims[dim])
	for range a.dims[dim] {
		if dim < a.ndim-1 {
			if err := a.append(x, dim+1, list); err != nil {
				return err
			}
			continue
		}
		i := a.i
		a.i++
		if a.nulls != nil && a.nulls[i/8]&(1<<(i%8)) == 0 {
			list.AppendNull()
			continue
		}
		a.at = (a.at+4+a.mask)&^a.mask - 4
		if a.at > len(a.v) {
			return corrupt("element %d of an array is past its end", i)
		}
		e, size, err := element(a.v[a.at:], a.el, a.elem)
		if err != nil {
			return err
		}
		if err := a.elem.value(x, e, list); err != nil {
			return err
		}
		a.at += size
	}
	return nil
}

// arrayCodec gives arrays of dims dimensions as lists inside each other; lower bounds are not kept.
func arrayCodec(el PGType, elem *codec, dims int) *codec {
	mask := tuple.AlignOf(el.Align) - 1
	return &codec{varlena: true, value: func(x *Env, v []byte, b *column.Builder) error {
		a := array{el: &el, mask: mask, elem: elem}
		if err := a.parse(v); err != nil {
			return err
		}
		switch a.ndim {
		case 0:
			b.AppendList(0)
			return nil
		case dims:
			return a.append(x, 0, b)
		}
		b.AppendOutOfRange()
		return nil
	}}
}

// element takes the first value off b that lies inside a container, an array or a range: the value, and its size there.
// Such values are never compressed or in TOAST (construct_md_array, range_serialize).
func element(b []byte, el *PGType, c *codec) (v []byte, size int, err error) {
	if size = int(el.Len); size < 0 {
		if size, err = tuple.VarSize(b, el.Len); err != nil {
			return nil, 0, err
		}
	}
	if size > len(b) || size < c.width {
		return nil, 0, corrupt("element of %d bytes in %d", size, len(b))
	}
	if c.varlena {
		v, err = tuple.Inline(b[:size])
		return v, size, err
	}
	return b[:size], size, nil
}
