package wal

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/pglz"
)

// RestoreImage writes the page the block's image stands for into dst, its hole zeroed (RestoreBlockImage). dst must be
// pg.BlockSize bytes long; its content is undefined after an error, which is a *pg.CorruptError.
func (b *BlockRef) RestoreImage(dst pg.Page) error {
	if len(dst) != pg.BlockSize {
		panic(fmt.Sprintf("BUG: page of %d bytes", len(dst)))
	}
	if !b.HasImage {
		return b.corrupt("block has no image")
	}
	off, hole := int(b.HoleOffset), int(b.HoleLength)
	want := pg.BlockSize - hole
	if off > want {
		return b.corrupt("hole beyond the page")
	}
	image := b.Image
	if b.ImageInfo&imageCompressed != 0 {
		// Without its hole the page is laid at the start of dst and its second part then moved up.
		if err := b.decompress(dst[:want]); err != nil {
			return err
		}
		image = dst[:want]
	}
	if len(image) != want {
		return b.corrupt(fmt.Sprintf("image of %d bytes, want %d", len(image), want))
	}
	copy(dst[off+hole:], image[off:])
	copy(dst[:off], image[:off])
	clear(dst[off : off+hole])
	return nil
}

// decompress fills dst exactly.
func (b *BlockRef) decompress(dst []byte) error {
	var n int
	var err error
	switch b.ImageInfo & imageCompressed {
	case imagePGLZ:
		n, err = pglz.Decompress(b.Image, dst)
	case imageLZ4:
		n, err = lz4.UncompressBlock(b.Image, dst)
	case imageZSTD:
		var dec *zstd.Decoder
		if dec, err = zstdDecoder(); err != nil {
			return fmt.Errorf("cannot start zstd: %w", err)
		}
		var out []byte
		out, err = dec.DecodeAll(b.Image, dst[:0:len(dst)])
		n = len(out)
	default:
		return b.corrupt(fmt.Sprintf("image with unknown compression, info %#x", b.ImageInfo))
	}
	if err != nil {
		return b.corrupt("compressed image: " + err.Error())
	}
	if n != len(dst) {
		return b.corrupt(fmt.Sprintf("compressed image gives %d bytes, want %d", n, len(dst)))
	}
	return nil
}

// zstdDecoder is shared: DecodeAll may run concurrently and is limited to the capacity of its destination.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(pg.BlockSize), zstd.WithDecoderConcurrency(0))
})

func (b *BlockRef) corrupt(what string) error {
	return &pg.CorruptError{Rel: b.Rel, Fork: b.Fork, Block: b.Block, What: what}
}
