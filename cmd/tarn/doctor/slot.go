package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
)

func (x *examiner) slot(c *checks, e *receive.Exam, store storeFacts) {
	const name = "source.slot"
	slot := x.Config.Source.Slot
	var ae *receive.AttachError
	switch {
	case e.SlotErr == nil:
		x.slotThere(c, e)
	case errors.As(e.SlotErr, &ae) && ae.Code == receive.CodeSlotMissing && store.base.SystemID == 0:
		c.ok(name, slot+" is not there yet: tarn makes it when it attaches")
	case errors.As(e.SlotErr, &ae) && ae.Code == receive.CodeSlotMissing:
		c.warn(name, "slot "+slot+" is not there, and the store holds WAL: some may be missing in between", "start tarn; if it says wal_gap, tarn resync --all")
	case ae != nil:
		*c = append(*c, Check{Name: name, State: Fail, Found: ae.Msg, Fix: ae.Fix, Code: ae.FaultCode(), err: ae})
	default:
		c.unknown(name, e.SlotErr.Error())
	}
}

func (x *examiner) slotThere(c *checks, e *receive.Exam) {
	const name = "source.slot"
	slot := x.Config.Source.Slot
	held := progress.Format(int64(max(e.FlushLSN, e.Slot.RestartLSN)-e.Slot.RestartLSN), progress.Bytes)
	text := fmt.Sprintf("%s holds WAL from %s on, %s", slot, e.Slot.RestartLSN, held)
	switch {
	case e.SQL == nil:
		c.ok(name, text+"; whether another client streams from it is not checkable with this role ("+fmt.Sprint(e.SQLErr)+")")
	case e.SQL.WALStatus == "lost":
		c.fail(name, fault.SlotLost, "slot "+slot+" is invalidated", "SELECT pg_drop_replication_slot('"+slot+"'), raise max_slot_wal_keep_size, then tarn resync --all")
	case e.SQL.WALStatus == "unreserved":
		c.warn(name, text+", more than max_slot_wal_keep_size: the next checkpoint may take it", "start tarn now, or raise max_slot_wal_keep_size; SELECT pg_reload_conf();")
	case e.SQL.SlotActive && x.running == nil && !x.Serving:
		c.fail(name, fault.SlotInUse, "another client streams from slot "+slot, "stop it, or give this tarn its own source.slot; SELECT active_pid FROM pg_replication_slots WHERE slot_name = '"+slot+"' names its process")
	default:
		c.ok(name, text)
	}
}

// cluster compares the source with what the store and the data folder are of.
func (x *examiner) cluster(c *checks, e *receive.Exam, store storeFacts) {
	local, err := localSystemID(x.Config.DataDir)
	switch {
	case store.base.SystemID != 0 && store.base.SystemID != e.SystemID:
		c.fail("source.system_id", fault.SourceOther, fmt.Sprintf("the source's system identifier is %d, the store's is %d", e.SystemID, store.base.SystemID),
			"point source.url at the original cluster, or give this one a store and data_dir of its own")
	case local != 0 && local != e.SystemID:
		c.fail("source.system_id", fault.DataDirOther, fmt.Sprintf("the source's system identifier is %d, data_dir's is %d", e.SystemID, local),
			"point source.url at the original cluster, or give this one a data_dir of its own")
	case err != nil:
		c.unknown("source.system_id", fmt.Sprintf("%d; what data_dir is of cannot be read (%v)", e.SystemID, err))
	default:
		c.ok("source.system_id", fmt.Sprint(e.SystemID))
	}
	switch {
	case store.err != nil:
		c.unknown("source.timeline", fmt.Sprintf("%d; the store's was not asked", e.Timeline))
	case store.base.SystemID != 0 && store.base.Timeline > e.Timeline:
		c.warn("source.timeline", fmt.Sprintf("the source is on timeline %d, the store's WAL on %d: it is a former primary, or was restored", e.Timeline, store.base.Timeline),
			"point source.url at the promoted server; if this is the one to go on with, tarn resync --all copies it as it is now")
	case store.base.SystemID != 0 && store.base.Timeline < e.Timeline:
		c.advise("source.timeline", fmt.Sprintf("the source is on timeline %d, the store's WAL on %d: it was promoted", e.Timeline, store.base.Timeline),
			"start tarn: it follows where it can; if it says diverged, tarn resync --all copies the source as it is now")
	default:
		c.ok("source.timeline", fmt.Sprint(e.Timeline))
	}
}

// localSystemID is the cluster whose WAL the data folder holds, 0 if it holds none. The first page of a segment has it
// (XLogLongPageHeaderData): after 24 bytes of ordinary header.
func localSystemID(dataDir string) (uint64, error) {
	const ordinary = 24 // bytes
	files, err := filepath.Glob(filepath.Join(dataDir, "wal", "[0-9A-F]*"))
	if err != nil || len(files) == 0 {
		return 0, err
	}
	f, err := os.Open(files[0])
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var head [ordinary + 8]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, err
	}
	if _, ok := pg.MajorOfWALMagic(binary.LittleEndian.Uint16(head[:])); !ok {
		return 0, fault.Errorf(fault.Corrupt, "%s begins with %s", files[0], strconv.Quote(string(head[:2])))
	}
	return binary.LittleEndian.Uint64(head[ordinary:]), nil
}
