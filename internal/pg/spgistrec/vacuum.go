package spgistrec

import "github.com/tarn-db/tarn/internal/pg"

// VacuumLeaf is spgxlogVacuumLeaf, on block 0.
//
//	0 nDead uint16   2 nPlaceholder uint16   4 nMove uint16   6 nChain uint16   8 State
//	16 offsets: nDead, nPlaceholder, nMove sources, nMove destinations, nChain tuples, nChain links of theirs
type VacuumLeaf struct {
	State               State
	Dead                pg.Offsets // become DEAD
	Placeholder         pg.Offsets // become PLACEHOLDER
	MoveSrc, MoveDest   pg.Offsets // change places, and what is then at the source becomes PLACEHOLDER
	ChainSrc, ChainDest pg.Offsets // tuples and the next in their chains
}

// DecodeVacuumLeaf reads an OpVacuumLeaf record's main data.
func DecodeVacuumLeaf(main []byte) (r VacuumLeaf, err error) {
	c := newCursor("spgxlogVacuumLeaf", main)
	dead, placeholder, move, chain := c.U16(), c.U16(), c.U16(), c.U16()
	r.State = c.state()
	r.Dead, r.Placeholder = c.offsets(dead), c.offsets(placeholder)
	r.MoveSrc, r.MoveDest = c.offsets(move), c.offsets(move)
	r.ChainSrc, r.ChainDest = c.offsets(chain), c.offsets(chain)
	return r, c.Done()
}

// VacuumRoot is spgxlogVacuumRoot, on block 0: a root that is a leaf.
//
//	0 nDelete uint16   2 two bytes of padding   4 State   12 offsets
type VacuumRoot struct {
	State  State
	Delete pg.Offsets // rising
}

// DecodeVacuumRoot reads an OpVacuumRoot record's main data.
func DecodeVacuumRoot(main []byte) (r VacuumRoot, err error) {
	c := newCursor("spgxlogVacuumRoot", main)
	n := c.U16()
	c.Skip(2)
	r.State = c.state()
	r.Delete = c.offsets(n)
	return r, c.Done()
}

// VacuumRedirect is spgxlogVacuumRedirect, on block 0.
//
//	0 nToPlaceholder uint16   2 firstPlaceholder uint16   4 snapshotConflictHorizon (15: newestRedirectXid) uint32
//	8 isCatalogRel bool, a byte of padding (16+)   8 or 10 offsets
type VacuumRedirect struct {
	ToPlaceholder    pg.Offsets      // REDIRECTs that become PLACEHOLDERs
	FirstPlaceholder pg.OffsetNumber // from here to the end of the page there are only PLACEHOLDERs, which go; 0 if there are none
	Horizon          pg.XID
	CatalogRel       bool
}

// DecodeVacuumRedirect reads an OpVacuumRedirect record's main data.
func DecodeVacuumRedirect(major pg.Major, main []byte) (r VacuumRedirect, err error) {
	c := newCursor("spgxlogVacuumRedirect", main)
	n := c.U16()
	r.FirstPlaceholder = c.offset()
	r.Horizon = pg.XID(c.U32())
	if major >= pg.PG16 {
		r.CatalogRel = c.Bool()
		c.Skip(1)
	}
	r.ToPlaceholder = c.offsets(n)
	return r, c.Done()
}
