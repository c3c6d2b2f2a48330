// Package syscat knows how the rows of Postgres's bootstrap catalogs are laid out in each major. The layouts are read
// off running servers by the generator beside it, never copied by hand.
package syscat

import "github.com/tarn-db/tarn/internal/pg"

// Attr is one column of a catalog, as pg_attribute describes it.
type Attr struct {
	Name  string
	Type  pg.OID
	Num   int16
	Len   int16 // -1 varlena, -2 C string
	Align byte  // c s i d
	ByVal bool
}

// Catalog is one system catalog's identity and row layout.
type Catalog struct {
	OID    pg.OID
	Name   string
	Shared bool // in the global tablespace
	Attrs  []Attr
}

// Index returns the position of a column in Attrs, or -1.
func (c *Catalog) Index(name string) int {
	for i := range c.Attrs {
		if c.Attrs[i].Name == name {
			return i
		}
	}
	return -1
}

// Lookup returns a catalog's layout in a major, or nil when the major has none by that name.
func Lookup(m pg.Major, name string) *Catalog {
	for i := range layouts[m] {
		if layouts[m][i].Name == name {
			return &layouts[m][i]
		}
	}
	return nil
}
