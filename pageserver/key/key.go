// Package key is the page store's key space: what one versioned value of a timeline is called. It is pure.
package key

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// Size is the length of an encoded key in bytes.
const Size = 18

// Key is an encoded key. Its byte order is the order of keys. All numbers are big-endian:
//
//	 0 kind uint8
//	 1 tablespace uint32   5 database uint32   9 relation uint32   13 fork uint8
//	14 block uint32
//
//	kind        tablespace  database  relation  fork  block             value
//	Block       OID         OID       file no.  fork  block             page, 8192 bytes; SizeBlock: the fork's size
//	Relation    OID         OID       file no.  0     0                 when the relation was created, its cuts
//	SLRU        SLRU no.    0         0         0     page              SLRU page, 8192 bytes; SizeBlock: its size, of former versions
//	RelMap      OID         OID       0         0     0                 pg_filenode.map
//	TwoPhase    0           0         0         0     transaction id    state data of a prepared transaction
//	Control     0           0         0         0     0                 pg_control of the base backup
//	Settings    0           0         0         0     0                 what redo must know of the cluster; in delta layers
//	Image       0           0         0         0     number            an image of a page, 8192 bytes; in delta layers
//
// A fork's size has the greatest block number, so that it lies beside the fork's last pages.
type Key [Size]byte

// Kind says what a key's value is.
type Kind uint8

// The kinds. Their numbers are part of the format.
const (
	Block    Kind = 0x00
	Relation Kind = 0x01
	SLRU     Kind = 0x02
	RelMap   Kind = 0x03
	TwoPhase Kind = 0x04
	Control  Kind = 0x05
	Settings Kind = 0x06
	Image    Kind = 0x07
)

// SizeBlock stands in place of a block number in the key of a fork's size.
const SizeBlock = pg.InvalidBlock

// Make encodes a key from its fields.
func Make(kind Kind, rel pg.RelFileLocator, fork pg.ForkNumber, blk pg.BlockNumber) (k Key) {
	k[0] = byte(kind)
	binary.BigEndian.PutUint32(k[1:], uint32(rel.Spc))
	binary.BigEndian.PutUint32(k[5:], uint32(rel.DB))
	binary.BigEndian.PutUint32(k[9:], uint32(rel.Rel))
	k[13] = byte(fork)
	binary.BigEndian.PutUint32(k[14:], uint32(blk))
	return k
}

// OfBlock is the key of a relation's page.
func OfBlock(rel pg.RelFileLocator, fork pg.ForkNumber, blk pg.BlockNumber) Key {
	return Make(Block, rel, fork, blk)
}

// OfRelation is the key of a relation's directory entry.
func OfRelation(rel pg.RelFileLocator) Key { return Make(Relation, rel, 0, 0) }

// OfSLRU is the key of a page of one of the SLRUs, by its slru.Kind.
func OfSLRU(slru pg.OID, page pg.BlockNumber) Key {
	return Make(SLRU, pg.RelFileLocator{Spc: slru}, 0, page)
}

// OfRelMap is the key of a database's relation map; the shared one has database 0 in tablespace 1664.
func OfRelMap(spc, db pg.OID) Key { return Make(RelMap, pg.RelFileLocator{Spc: spc, DB: db}, 0, 0) }

// OfTwoPhase is the key of a prepared transaction's state.
func OfTwoPhase(xid pg.XID) Key {
	return Make(TwoPhase, pg.RelFileLocator{}, 0, pg.BlockNumber(xid))
}

// OfControl is the key of pg_control.
func OfControl() Key { return Make(Control, pg.RelFileLocator{}, 0, 0) }

// OfSettings is the key of the cluster's settings in a delta layer.
func OfSettings() Key { return Make(Settings, pg.RelFileLocator{}, 0, 0) }

// OfImage is the key of an image in a delta layer, by its number.
func OfImage(number uint32) Key {
	return Make(Image, pg.RelFileLocator{}, 0, pg.BlockNumber(number))
}

// Decode reads a key that is exactly Size bytes.
func Decode(b []byte) (k Key, err error) {
	if len(b) != Size {
		return k, fmt.Errorf("page store key of %d bytes, want %d", len(b), Size)
	}
	copy(k[:], b)
	if k.Kind() > Image || k.Fork() > pg.InitFork {
		return k, fmt.Errorf("page store key %x has kind %d, fork %d", b, k.Kind(), k.Fork())
	}
	return k, nil
}

// Kind returns the key's kind.
func (k Key) Kind() Kind { return Kind(k[0]) }

// Rel returns the relation's three numbers.
func (k Key) Rel() pg.RelFileLocator {
	return pg.RelFileLocator{
		Spc: pg.OID(binary.BigEndian.Uint32(k[1:])),
		DB:  pg.OID(binary.BigEndian.Uint32(k[5:])),
		Rel: pg.OID(binary.BigEndian.Uint32(k[9:])),
	}
}

// Fork returns the key's fork.
func (k Key) Fork() pg.ForkNumber { return pg.ForkNumber(k[13]) }

// Block returns the key's last field: a block, a page, SizeBlock, a transaction id or an image's number.
func (k Key) Block() pg.BlockNumber { return pg.BlockNumber(binary.BigEndian.Uint32(k[14:])) }

// WithBlock is the key of another block of the same fork.
func (k Key) WithBlock(blk pg.BlockNumber) Key {
	binary.BigEndian.PutUint32(k[14:], uint32(blk))
	return k
}

// SameFork says that two keys differ in nothing but the block.
func (k Key) SameFork(o Key) bool { return [14]byte(k[:14]) == [14]byte(o[:14]) }

// IsPage says that the value is an 8 KiB page.
func (k Key) IsPage() bool {
	return (k.Kind() == Block || k.Kind() == SLRU) && k.Block() != SizeBlock
}

// Compare orders keys as their bytes are.
func (k Key) Compare(o Key) int { return bytes.Compare(k[:], o[:]) }

// String is for messages: kind, relation, fork and block.
func (k Key) String() string {
	return fmt.Sprintf("%02x %s %s %d", uint8(k.Kind()), k.Rel(), k.Fork(), k.Block())
}
