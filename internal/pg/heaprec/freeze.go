package heaprec

import "github.com/tarn-db/tarn/internal/pg"

// planSize is sizeof(xl_heap_freeze_plan) and, in 15, sizeof(xl_heap_freeze_tuple).
const planSize = 12

// Flags of FreezePlan, for tuples moved by a VACUUM FULL of 8.4 or before (XLH_*_XVAC).
const (
	FreezeXvac  = 0x02
	InvalidXvac = 0x04
)

// FreezePlan is what freezing writes into a tuple's header (HeapTupleFreeze).
//
// xl_heap_freeze_tuple (15):        0 xmax uint32   4 offset uint16   6 t_infomask2   8 t_infomask   10 frzflags uint8
// xlhp_freeze_plan (16 and later):  0 xmax uint32   4 t_infomask2   6 t_infomask   8 frzflags uint8   10 ntuples uint16
type FreezePlan struct {
	Xmax                pg.XID
	Infomask2, Infomask uint16
	Flags               uint8
}

// Freeze yields the tuples a record freezes. The zero Freeze yields none.
//
// Invariant: the plans' tuple counts add up to the offsets (checked when decoded).
type Freeze struct {
	plans    []byte
	offsets  pg.Offsets
	perTuple bool // 15: each entry holds its own offset

	plan FreezePlan // 16+: the plan being handed out
	left int        // tuples it still has
}

// check refuses a record whose plans do not use up its offsets exactly.
func (f *Freeze) check() error {
	n := 0
	for at := 0; at < len(f.plans); at += planSize {
		n += int(le.Uint16(f.plans[at+10:]))
	}
	if len(f.offsets) != 2*n {
		return pg.BadLength("the freeze plans' offsets", len(f.offsets), 2*n)
	}
	return nil
}

// Next hands out the next tuple to freeze and how; ok is false behind the last.
func (f *Freeze) Next() (off pg.OffsetNumber, p FreezePlan, ok bool) {
	if f.perTuple {
		if len(f.plans) < planSize {
			return 0, p, false
		}
		e := f.plans[:planSize]
		f.plans = f.plans[planSize:]
		return pg.OffsetNumber(le.Uint16(e[4:])), FreezePlan{
			Xmax: pg.XID(le.Uint32(e)), Infomask2: le.Uint16(e[6:]), Infomask: le.Uint16(e[8:]), Flags: e[10],
		}, true
	}
	for f.left == 0 {
		if len(f.plans) < planSize {
			return 0, p, false
		}
		e := f.plans[:planSize]
		f.plans = f.plans[planSize:]
		f.plan = FreezePlan{Xmax: pg.XID(le.Uint32(e)), Infomask2: le.Uint16(e[4:]), Infomask: le.Uint16(e[6:]), Flags: e[8]}
		f.left = int(le.Uint16(e[10:]))
	}
	off = f.offsets.At(0)
	f.offsets, f.left = f.offsets[2:], f.left-1
	return off, f.plan, true
}
