package types

import (
	"github.com/tarn-db/tarn/materialize/datafile/column"
)

// A PostGIS geometry or geography (liblwgeom/gserialized1.c, gserialized2.c), after the varlena header:
//
//	0  srid, 21 bits in 3 bytes; 3  flags; in version 2, 8 more bytes of flags if there is the bit extended
//	   bounding box, if there is one: least and greatest of each dimension as float4; a geodetic one has 3 dimensions
//	   the geometry: type uint32, count uint32, then
//	     points, lines, circular strings, triangles   count points, each 2 to 4 float8
//	     polygons                                     count numbers of points uint32, padded to 8 bytes; points of all rings
//	     all others                                   count geometries
const (
	flagZ        = 0x01
	flagM        = 0x02
	flagBox      = 0x04
	flagGeodetic = 0x08
	flagExtended = 0x10 // of version 2; of version 1 it says something else
	flagVersion2 = 0x40
)

// Types of geometries (lwgeom's POINTTYPE and so on) and what ISO SQL/MM calls them in WKB.
const (
	geomPoint    = 1
	geomPolygon  = 3
	geomCircular = 8
	geomTriangle = 14
	geomTin      = 15
)

// quietNaN is PostGIS's NaN.
const quietNaN = 0x7FF8 << 48

// geometryDepthMax bounds collections of collections (LW_PARSER_MAX_DEPTH).
const geometryDepthMax = 200

// geometryCodec gives a geometry as ISO WKB, little-endian: with Z and M, without the SRID.
var geometryCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	dst, err := appendWKB(b.Buf(), v)
	if err != nil {
		return err
	}
	b.EndBytes(dst)
	return nil
}}

func appendWKB(dst, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return dst, corrupt("geometry of %d bytes", len(v))
	}
	flags, at := v[3], 4
	if flags&flagVersion2 != 0 && flags&flagExtended != 0 {
		at += 8
	}
	g := geometry{dims: 2, z: flags&flagZ != 0, m: flags&flagM != 0}
	for _, more := range []bool{g.z, g.m} {
		if more {
			g.dims++
		}
	}
	if flags&flagBox != 0 {
		if at += 8 * g.dims; flags&flagGeodetic != 0 {
			at += 8 * (3 - g.dims)
		}
	}
	if at > len(v) {
		return dst, corrupt("geometry of %d bytes with a header of %d", len(v), at)
	}
	g.b = v[at:]
	dst, err := g.append(dst, 0)
	if err == nil && len(g.b) > 0 {
		err = corrupt("geometry with %d bytes behind its end", len(g.b))
	}
	return dst, err
}

// geometry is what is left to read of one.
type geometry struct {
	b    []byte
	dims int // of a point
	z, m bool
}

func (g *geometry) append(dst []byte, depth int) ([]byte, error) {
	if len(g.b) < 8 || depth > geometryDepthMax {
		return dst, corrupt("geometry of %d bytes, %d deep", len(g.b), depth)
	}
	kind, n := le.Uint32(g.b), le.Uint32(g.b[4:])
	g.b = g.b[8:]
	if kind < geomPoint || kind > geomTin || uint64(n) > uint64(len(g.b)) {
		return dst, corrupt("geometry of type %d with %d members in %d bytes", kind, n, len(g.b))
	}
	dst = g.header(dst, kind)
	switch kind {
	case geomPoint:
		if n > 1 {
			return dst, corrupt("point of %d points", n)
		}
		if n == 0 { // POINT EMPTY: WKB has no count, so its coordinates are NaN
			for range g.dims {
				dst = le.AppendUint64(dst, quietNaN)
			}
			return dst, nil
		}
		return g.points(dst, n)
	case 2, geomCircular:
		return g.points(le.AppendUint32(dst, n), n)
	case geomTriangle: // a polygon of one ring, or of none
		if n == 0 {
			return le.AppendUint32(dst, 0), nil
		}
		return g.points(le.AppendUint32(le.AppendUint32(dst, 1), n), n)
	case geomPolygon:
		return g.polygon(dst, n)
	}
	dst = le.AppendUint32(dst, n)
	for range n {
		var err error
		if dst, err = g.append(dst, depth+1); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// header is the byte order and type of a WKB geometry. Polyhedral surfaces, triangles and TINs have other numbers there.
func (g *geometry) header(dst []byte, kind uint32) []byte {
	kind = [...]uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 17, 16}[kind]
	if g.z {
		kind += 1000
	}
	if g.m {
		kind += 2000
	}
	return le.AppendUint32(append(dst, 1), kind)
}

func (g *geometry) points(dst []byte, n uint32) ([]byte, error) {
	size := uint64(n) * uint64(8*g.dims)
	if size > uint64(len(g.b)) {
		return dst, corrupt("%d points of a geometry in %d bytes", n, len(g.b))
	}
	dst, g.b = append(dst, g.b[:size]...), g.b[size:]
	return dst, nil
}

func (g *geometry) polygon(dst []byte, rings uint32) ([]byte, error) {
	size := (4*uint64(rings) + 7) &^ 7
	if size > uint64(len(g.b)) {
		return dst, corrupt("polygon of %d rings in %d bytes", rings, len(g.b))
	}
	counts := g.b[:4*rings]
	g.b = g.b[size:]
	dst = le.AppendUint32(dst, rings)
	for ; len(counts) > 0; counts = counts[4:] {
		n := le.Uint32(counts)
		var err error
		if dst, err = g.points(le.AppendUint32(dst, n), n); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
