package redo

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/hashrec"
)

// Flags of a hash page: its type, and what happens to it (LH_* of access/hash.h).
const (
	hashUnusedPage   = 0x00
	hashOverflowPage = 0x01
	hashBucketPage   = 0x02
	hashBitmapPage   = 0x04
	hashMetaPage     = 0x08
	hashPageType     = hashOverflowPage | hashBucketPage | hashBitmapPage | hashMetaPage

	hashNeedsSplitCleanup = 0x40
	hashHasDeadTuples     = 0x80
)

const (
	hashSpecialSize = 16         // sizeof(HashPageOpaqueData)
	hashPageID      = 0xFF80     // HASHO_PAGE_ID
	invalidBucket   = 0xFFFFFFFF // InvalidBucket
)

var (
	errHashType = errors.New("the page is not the hash index's metapage or bitmap page it should be")
	errHashMeta = errors.New("the metapage has no place for this split point or bitmap page")
	errHashBit  = errors.New("the bitmap does not go as far as this bit")
)

// hashOpaque is the special area of a hash page (HashPageOpaqueData).
//
//	0 hasho_prevblkno uint32   4 hasho_nextblkno uint32   8 hasho_bucket uint32   12 hasho_flag uint16   14 hasho_page_id uint16
type hashOpaque []byte

// hashOpaqueOf is HashPageGetOpaque. Every page of a hash index that WAL changes has been given its special area, freed ones too.
func hashOpaqueOf(p pg.Page) (hashOpaque, error) {
	if p.Special() != pg.BlockSize-hashSpecialSize || checkPointers(p) != nil {
		return nil, errNotOurs
	}
	o := hashOpaque(p[pg.BlockSize-hashSpecialSize : pg.BlockSize])
	if binary.LittleEndian.Uint16(o[14:]) != hashPageID {
		return nil, errNotOurs
	}
	return o, nil
}

func (o hashOpaque) setPrev(b pg.BlockNumber) { binary.LittleEndian.PutUint32(o, uint32(b)) }
func (o hashOpaque) setNext(b pg.BlockNumber) { binary.LittleEndian.PutUint32(o[4:], uint32(b)) }
func (o hashOpaque) flag() uint16             { return binary.LittleEndian.Uint16(o[12:]) }
func (o hashOpaque) setFlag(v uint16)         { binary.LittleEndian.PutUint16(o[12:], v) }

// initHashPage makes an empty hash page without neighbours (_hash_initbuf). prev is the highest bucket on a bucket's first page, a
// neighbour on others.
func initHashPage(p pg.Page, prev pg.BlockNumber, bucket uint32, flag uint16) {
	p.Init(hashSpecialSize)
	o := hashOpaque(p[pg.BlockSize-hashSpecialSize : pg.BlockSize])
	o.setPrev(prev)
	o.setNext(pg.InvalidBlock)
	binary.LittleEndian.PutUint32(o[8:], bucket)
	o.setFlag(flag)
	binary.LittleEndian.PutUint16(o[14:], hashPageID)
}

// hashBitmap is a bitmap page's array: a bit for each overflow page, set while it is in use.
type hashBitmap []byte

func hashBitmapOf(p pg.Page) (hashBitmap, error) {
	o, err := hashOpaqueOf(p)
	if err != nil {
		return nil, err
	}
	if o.flag()&hashPageType != hashBitmapPage {
		return nil, errHashType
	}
	return hashBitmap(p[pg.PageHeaderSize:p.Lower()]), nil
}

// put sets or clears a bit (SETBIT, CLRBIT).
func (m hashBitmap) put(bit uint32, on bool) error {
	if uint64(bit) >= 8*uint64(len(m)) {
		return errHashBit
	}
	if on {
		m[bit/8] |= 1 << (bit % 8)
	} else {
		m[bit/8] &^= 1 << (bit % 8)
	}
	return nil
}

// initHashBitmap makes a bitmap page of size bytes whose bits are all set (_hash_initbitmapbuffer).
func initHashBitmap(p pg.Page, size uint16) error {
	if int(size) > hashBitmapSizeMax {
		return errHashBit
	}
	initHashPage(p, pg.InvalidBlock, invalidBucket, hashBitmapPage)
	lower := pg.PageHeaderSize + int(size)
	for i := pg.PageHeaderSize; i < lower; i++ {
		p[i] = 0xFF
	}
	p.SetLower(uint16(lower))
	return nil
}

// hashMeta is the contents of a metapage (HashMetaPageData):
//
//	 0 hashm_magic uint32      4 hashm_version uint32    8 hashm_ntuples float64
//	16 hashm_ffactor uint16   18 hashm_bsize uint16     20 hashm_bmsize uint16    22 hashm_bmshift uint16
//	24 hashm_maxbucket uint32 28 hashm_highmask uint32  32 hashm_lowmask uint32   36 hashm_ovflpoint uint32
//	40 hashm_firstfree uint32 44 hashm_nmaps uint32     48 hashm_procid uint32
//	52 hashm_spares, 98 uint32   444 hashm_mapp, 1024 uint32   4540 padding to 4544
type hashMeta []byte

// Places in a hashMeta.
const (
	metaTuples     = 8
	metaMaxBucket  = 24
	metaHighMask   = 28
	metaLowMask    = 32
	metaSplitPoint = 36
	metaFirstFree  = 40
	metaMaps       = 44
	metaSpares     = 52
	metaMapBlocks  = 444
	metaSize       = 4544

	hashSplitPointsMax = 98   // HASH_MAX_SPLITPOINTS
	hashBitmapsMax     = 1024 // HASH_MAX_BITMAPS
)

func hashMetaOf(p pg.Page) (hashMeta, error) {
	o, err := hashOpaqueOf(p)
	if err != nil {
		return nil, err
	}
	if o.flag()&hashPageType != hashMetaPage {
		return nil, errHashType
	}
	return hashMeta(p[pg.PageHeaderSize : pg.PageHeaderSize+metaSize]), nil
}

func (m hashMeta) u32(at int) uint32       { return binary.LittleEndian.Uint32(m[at:]) }
func (m hashMeta) setU32(at int, v uint32) { binary.LittleEndian.PutUint32(m[at:], v) }

// addTuples counts tuples that came, or went.
func (m hashMeta) addTuples(n float64) {
	was := math.Float64frombits(binary.LittleEndian.Uint64(m[metaTuples:]))
	binary.LittleEndian.PutUint64(m[metaTuples:], math.Float64bits(was+n))
}

// addMap appends a bitmap page to the list.
func (m hashMeta) addMap(b pg.BlockNumber) error {
	n := m.u32(metaMaps)
	if n >= hashBitmapsMax {
		return errHashMeta
	}
	m.setU32(metaMapBlocks+4*int(n), uint32(b))
	m.setU32(metaMaps, n+1)
	return nil
}

// sparesAt is where hashm_spares has a split point.
func sparesAt(point uint32) (int, error) {
	if point >= hashSplitPointsMax {
		return 0, errHashMeta
	}
	return metaSpares + 4*int(point), nil
}

const (
	hashMagic         = 0x6440640 // HASH_MAGIC
	hashVersion       = 4         // HASH_VERSION
	hashBitmapSizeMax = pg.BlockSize - pg.PageHeaderSize - hashSpecialSize
	hashBucketsMax    = 1 << 30 // of a new index
)

// initHashMeta makes a new index's metapage (_hash_init_metabuffer).
func initHashMeta(p pg.Page, r hashrec.InitMetaPage) error {
	want := math.Float64frombits(r.TuplesBits) / float64(r.FillFactor)
	if r.FillFactor == 0 || math.IsNaN(want) {
		return errHashMeta
	}
	buckets := uint32(2)
	switch {
	case want >= hashBucketsMax:
		buckets = hashBucketsMax
	case want > 2:
		buckets = hashTotalBuckets(hashSpareIndex(uint32(want)))
	}
	point := hashSpareIndex(buckets)
	initHashPage(p, pg.InvalidBlock, invalidBucket, hashMetaPage)
	m := hashMeta(p[pg.PageHeaderSize : pg.PageHeaderSize+metaSize])
	m.setU32(0, hashMagic)
	m.setU32(4, hashVersion)
	binary.LittleEndian.PutUint16(m[16:], r.FillFactor)
	binary.LittleEndian.PutUint16(m[18:], hashBitmapSizeMax)
	shift := bits.Len(hashBitmapSizeMax) - 1 // the largest power of two that fits
	binary.LittleEndian.PutUint16(m[20:], 1<<shift)
	binary.LittleEndian.PutUint16(m[22:], uint16(shift)+3) // of bits, 8 to a byte
	m.setU32(metaMaxBucket, buckets-1)
	highMask := uint32(1)<<bits.Len32(buckets) - 1
	m.setU32(metaHighMask, highMask)
	m.setU32(metaLowMask, highMask>>1)
	m.setU32(metaSplitPoint, point)
	m.setU32(48, uint32(r.ProcID))
	m.setU32(metaSpares+4*int(point), 1)
	p.SetLower(pg.PageHeaderSize + metaSize)
	return nil
}

// Buckets are allocated in groups, each as large as all before it: the first ten in one go, later ones in four phases.
const (
	hashGroupsOfOnePhase = 10 // HASH_SPLITPOINT_GROUPS_WITH_ONE_PHASE
	hashPhaseBits        = 2  // HASH_SPLITPOINT_PHASE_BITS
	hashPhaseMask        = 1<<hashPhaseBits - 1
)

// hashSpareIndex is the split point phase that allocates bucket n, n from 1 (_hash_spareindex).
func hashSpareIndex(n uint32) uint32 {
	group := uint32(bits.Len32(n - 1))
	if group < hashGroupsOfOnePhase {
		return group
	}
	phase := (n - 1) >> (group - (hashPhaseBits + 1)) & hashPhaseMask
	return hashGroupsOfOnePhase + (group-hashGroupsOfOnePhase)<<hashPhaseBits + phase
}

// hashTotalBuckets is how many buckets there are once a phase is allocated (_hash_get_totalbuckets).
func hashTotalBuckets(phase uint32) uint32 {
	if phase < hashGroupsOfOnePhase {
		return 1 << phase
	}
	phase -= hashGroupsOfOnePhase
	before := uint32(1) << (hashGroupsOfOnePhase + phase>>hashPhaseBits - 1)
	return before + before>>hashPhaseBits*(phase&hashPhaseMask+1)
}
