package wal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// RMCustomMin is the first number an extension's resource manager may have (RM_MIN_CUSTOM_ID).
const RMCustomMin RMID = 128

// After the record header come block headers in rising order of id, then at most one each of the headers of origin
// and top-level transaction, then the main data's header; then per block its image and its data, then the main data
// (access/xlogrecord.h):
//
//	block   id uint8, fork and flags uint8, data_length uint16
//	        [image: length uint16, hole_offset uint16, bimg_info uint8, [hole_length uint16 if compressed with a hole]]
//	        [spcOid, dbOid, relNumber uint32 each, unless SAME_REL]   block number uint32
//	253     origin uint16
//	252     top-level transaction uint32
//	255     main data length uint8
//	254     main data length uint32
const (
	maxBlockID      = 32 // XLR_MAX_BLOCK_ID
	idDataShort     = 255
	idDataLong      = 254
	idOrigin        = 253
	idTopXID        = 252
	blockForkMask   = 0x0F
	blockHasImage   = 0x10
	blockHasData    = 0x20
	blockWillInit   = 0x40
	blockSameRel    = 0x80
	imageHasHole    = 0x01 // BKPIMAGE_HAS_HOLE
	imageApply      = 0x02 // BKPIMAGE_APPLY
	imagePGLZ       = 0x04 // BKPIMAGE_COMPRESS_PGLZ
	imageLZ4        = 0x08 // BKPIMAGE_COMPRESS_LZ4
	imageZSTD       = 0x10 // BKPIMAGE_COMPRESS_ZSTD
	imageCompressed = imagePGLZ | imageLZ4 | imageZSTD
)

var errShortRecord = errors.New("record is shorter than its headers say")

// decode fills rec from a whole record (DecodeXLogRecord). Slices point into raw.
func (rec *Record) decode(raw []byte) error {
	rec.TotLen = uint32(len(raw))
	rec.XID = pg.XID(binary.LittleEndian.Uint32(raw[4:]))
	rec.Prev = pg.LSN(binary.LittleEndian.Uint64(raw[8:]))
	rec.Info, rec.RMID = raw[16], RMID(raw[17])
	rec.TopXID, rec.Origin, rec.Main = 0, 0, nil
	rec.Blocks = rec.Blocks[:0]

	h := raw[recordHeaderSize:]
	data := 0 // bytes of images and data the headers so far promise
	mainLen := 0
	for len(h) > data {
		id := h[0]
		h = h[1:]
		switch {
		case id <= maxBlockID:
			if n := len(rec.Blocks); n > 0 && id <= rec.Blocks[n-1].ID {
				return fmt.Errorf("out-of-order block_id %d", id)
			}
			rest, size, err := rec.decodeBlockHeader(h, id)
			if err != nil {
				return err
			}
			h = rest
			data += size
		case id == idDataShort && len(h) >= 1:
			mainLen = int(h[0])
			h = h[1:]
			data += mainLen
		case id == idDataLong && len(h) >= 4:
			n := binary.LittleEndian.Uint32(h)
			if int64(n) > int64(len(h)) {
				return errShortRecord
			}
			mainLen = int(n)
			h = h[4:]
			data += mainLen
		case id == idOrigin && len(h) >= 2:
			rec.Origin = binary.LittleEndian.Uint16(h)
			h = h[2:]
		case id == idTopXID && len(h) >= 4:
			rec.TopXID = pg.XID(binary.LittleEndian.Uint32(h))
			h = h[4:]
		case id >= idTopXID:
			return errShortRecord
		default:
			return fmt.Errorf("invalid block_id %d", id)
		}
		if id >= idDataLong {
			break // by convention the main data's header is the last one
		}
	}
	if len(h) != data {
		return fmt.Errorf("record holds %d bytes of data, its headers say %d", len(h), data)
	}
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		n := len(b.Image)
		b.Image, h = h[:n:n], h[n:]
		n = len(b.Data)
		b.Data, h = h[:n:n], h[n:]
	}
	rec.Main = h[:mainLen:mainLen]
	return nil
}

// decodeBlockHeader appends a block whose Image and Data have their lengths but not yet their bytes, and returns the
// headers after it and how many bytes of data it promises.
func (rec *Record) decodeBlockHeader(h []byte, id uint8) (rest []byte, size int, err error) {
	if len(h) < 3 {
		return nil, 0, errShortRecord
	}
	flags := h[0]
	dataLen := int(binary.LittleEndian.Uint16(h[1:]))
	rec.Blocks = append(rec.Blocks, BlockRef{
		ID: id, Fork: pg.ForkNumber(flags & blockForkMask),
		WillInit: flags&blockWillInit != 0, HasData: flags&blockHasData != 0, HasImage: flags&blockHasImage != 0,
	})
	b := &rec.Blocks[len(rec.Blocks)-1]
	whole := h // its length bounds every promise: lengths are only believed as far as the record goes
	h = h[3:]
	if b.HasData != (dataLen != 0) {
		return nil, 0, fmt.Errorf("block %d: HAS_DATA is %t, data length %d", id, b.HasData, dataLen)
	}
	imageLen := 0
	if b.HasImage {
		if h, imageLen, err = b.decodeImageHeader(h); err != nil {
			return nil, 0, fmt.Errorf("block %d: %w", id, err)
		}
	}
	if flags&blockSameRel == 0 {
		if len(h) < 12 {
			return nil, 0, errShortRecord
		}
		b.Rel = pg.RelFileLocator{
			Spc: pg.OID(binary.LittleEndian.Uint32(h)),
			DB:  pg.OID(binary.LittleEndian.Uint32(h[4:])),
			Rel: pg.OID(binary.LittleEndian.Uint32(h[8:])),
		}
		h = h[12:]
	} else if n := len(rec.Blocks); n > 1 {
		b.Rel = rec.Blocks[n-2].Rel
	} else {
		return nil, 0, fmt.Errorf("block %d: SAME_REL without a relation before it", id)
	}
	if len(h) < 4 {
		return nil, 0, errShortRecord
	}
	b.Block = pg.BlockNumber(binary.LittleEndian.Uint32(h))
	h = h[4:]
	if imageLen+dataLen > len(h) {
		return nil, 0, errShortRecord
	}
	b.Image, b.Data = whole[:imageLen], whole[:dataLen]
	return h, imageLen + dataLen, nil
}

// decodeImageHeader reads an image's header, its cross-checks those of DecodeXLogRecord.
func (b *BlockRef) decodeImageHeader(h []byte) (rest []byte, size int, err error) {
	if len(h) < 5 {
		return nil, 0, errShortRecord
	}
	size = int(binary.LittleEndian.Uint16(h))
	b.HoleOffset = binary.LittleEndian.Uint16(h[2:])
	b.ImageInfo = h[4]
	b.ApplyImage = b.ImageInfo&imageApply != 0
	h = h[5:]
	hole, compressed := b.ImageInfo&imageHasHole != 0, b.ImageInfo&imageCompressed != 0
	switch {
	case hole && compressed:
		if len(h) < 2 {
			return nil, 0, errShortRecord
		}
		b.HoleLength = binary.LittleEndian.Uint16(h)
		h = h[2:]
	case hole && size <= pg.BlockSize:
		b.HoleLength = uint16(pg.BlockSize - size)
	}
	bad := size > pg.BlockSize ||
		hole && (b.HoleOffset == 0 || b.HoleLength == 0 || size == pg.BlockSize) ||
		!hole && b.HoleOffset != 0 ||
		compressed && size == pg.BlockSize ||
		!hole && !compressed && size != pg.BlockSize ||
		int(b.HoleOffset)+int(b.HoleLength) > pg.BlockSize
	if bad {
		return nil, 0, fmt.Errorf("image of %d bytes with hole offset %d, length %d, info %#x", size, b.HoleOffset, b.HoleLength, b.ImageInfo)
	}
	return h, size, nil
}
