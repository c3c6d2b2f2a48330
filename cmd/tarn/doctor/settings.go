package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// tested are the newest minor releases this release was tested with, by major.
var tested = map[int]int{15: 19, 16: 15, 17: 11, 18: 6}

// withdrawn are minor releases that PostgreSQL replaced out of turn, and by which.
var withdrawn = map[string]string{
	"15.9": "15.10", "16.5": "16.6", "17.1": "17.2", // ALTER ROLE ... SET role was lost, and extensions' binary interface
	"15.11": "15.12", "16.7": "16.8", "17.3": "17.4", // libpq's quoting functions
}

func version(c *checks, e *receive.Exam) {
	const name = "source.version"
	majorText, minorText, _ := strings.Cut(e.Version, ".")
	major := 0
	_, err := fmt.Sscanf(majorText, "%d", &major) // 18devel and 19beta1 have no minor
	if err != nil || major < int(pg.PG15) || major > int(pg.PG18) {
		c.fail(name, fault.SourceVersion, "the server is Postgres "+e.Version, "attach to 15, 16, 17 or 18")
		return
	}
	minor, err := strconv.Atoi(minorText)
	switch better := withdrawn[e.Version]; {
	case err != nil:
		c.advise(name, "PostgreSQL "+e.Version+" is no release", "use a release for what must not be lost")
	case better != "":
		c.warn(name, "PostgreSQL "+e.Version+" was replaced out of turn for a regression", "update to "+better+" or later")
	case minor < 2:
		c.warn(name, "PostgreSQL "+e.Version+" is one of the first of its major", "update to the newest minor release of "+majorText)
	case minor > tested[major]:
		c.advise(name, "PostgreSQL "+e.Version+", newer than "+majorText+"."+strconv.Itoa(tested[major])+" with which tarn was tested",
			"minor releases may change WAL records: tarn stops at one it does not know, and loses nothing")
	default:
		c.ok(name, "PostgreSQL "+e.Version)
	}
}

// walSettings are those that decide whether WAL reaches us.
func (x *examiner) walSettings(c *checks, e *receive.Exam) {
	set := e.Settings
	if set["wal_level"] == "minimal" {
		c.fail("source.wal_level", fault.SourceWALLevel, "wal_level is minimal", "ALTER SYSTEM SET wal_level = replica; restart the server")
	} else {
		c.ok("source.wal_level", set["wal_level"])
	}
	x.walsenders(c, e)
	x.slots(c, e)
	switch v := set["wal_sender_timeout"]; {
	case v == "0":
		c.warn("source.wal_sender_timeout", "off: the slot of a tarn that has died stays in use until TCP gives up", "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();")
	case milliseconds(v) > 0 && milliseconds(v) < 10_000:
		c.warn("source.wal_sender_timeout", v+" is short: a pause of the network or of tarn cuts the stream", "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();")
	default:
		c.ok("source.wal_sender_timeout", v)
	}
	switch v := set["max_slot_wal_keep_size"]; v {
	case "-1":
		c.warn("source.max_slot_wal_keep_size", "no limit: while tarn is away the slot holds all WAL back, until the source's disk is full",
			"ALTER SYSTEM SET max_slot_wal_keep_size = '<what the disk can spare, such as 64GB>'; SELECT pg_reload_conf();")
	default:
		c.ok("source.max_slot_wal_keep_size", v)
	}
	if v, ok := set["idle_replication_slot_timeout"]; ok && v != "0" {
		c.warn("source.idle_replication_slot_timeout", v+": the server invalidates the slot of a tarn that is away for longer",
			"ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf();")
	} else {
		c.ok("source.idle_replication_slot_timeout", "off, or the version has none")
	}
	c.ok("source.wal_keep_size", set["wal_keep_size"]+"; it does not matter: the slot keeps WAL")
}

// walsendersWanted are the connections an attach holds at once: the stream, and the base backup beside it.
const walsendersWanted = 2

func (x *examiner) walsenders(c *checks, e *receive.Exam) {
	const name, fix = "source.walsenders", "ALTER SYSTEM SET max_wal_senders = <more, such as 10>; restart the server"
	most, _ := strconv.Atoi(e.Settings["max_wal_senders"])
	text := fmt.Sprintf("max_wal_senders is %d", most)
	switch {
	case e.Second != nil && x.running == nil:
		c.warn(name, fmt.Sprintf("%s and one is free: a base backup needs a second beside the stream (%v)", text, e.Second), fix)
	case e.SQL != nil:
		c.ok(name, fmt.Sprintf("%s, %d in use beside this check", text, max(0, e.SQL.Walsenders-1)))
	default:
		c.ok(name, fmt.Sprintf("%s, at least %d are free; how many are in use is not checkable with this role (%v)", text, walsendersWanted, e.SQLErr))
	}
}

func (x *examiner) slots(c *checks, e *receive.Exam) {
	const name, fix = "source.max_replication_slots", "ALTER SYSTEM SET max_replication_slots = <more, such as 10>; restart the server"
	most, _ := strconv.Atoi(e.Settings["max_replication_slots"])
	switch {
	case most == 0:
		c.fail(name, fault.SourceSlots, "max_replication_slots is 0", fix)
	case e.SlotErr == nil:
		c.ok(name, fmt.Sprintf("%d; tarn has its slot", most))
	case e.SQL == nil:
		c.unknown(name, fmt.Sprintf("%d; how many are in use is not checkable with this role (%v)", most, e.SQLErr))
	case e.SQL.SlotsUsed >= most:
		c.fail(name, fault.SourceSlots, fmt.Sprintf("all %d replication slots are in use", most), fix+"; or SELECT pg_drop_replication_slot('<one nobody uses>')")
	default:
		c.ok(name, fmt.Sprintf("%d, %d in use", most, e.SQL.SlotsUsed))
	}
}

// pageSettings are those that decide what is in the WAL.
func (x *examiner) pageSettings(c *checks, e *receive.Exam) {
	set := e.Settings
	if set["data_checksums"] == "on" {
		c.ok("source.data_checksums", "on")
	} else {
		c.advise("source.data_checksums", "off: a page that the source's disk damages is not noticed there, and is copied as it is",
			"pg_checksums --enable -D <data directory> while the server is stopped")
	}
	switch {
	case set["full_page_writes"] == "on":
		c.ok("source.full_page_writes", "on")
	case x.Config.Source.AtomicWrites:
		c.ok("source.full_page_writes", "off, and source.atomic_writes says that its storage tears no pages")
	default:
		c.warn("source.full_page_writes", "off: after a power loss the source cannot repair torn pages by itself; tarn's own are whole",
			"run `tarn repair -D <data directory>` before it is started again after a crash; or ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(); or set source.atomic_writes: true if its storage writes 8 KiB atomically")
	}
	c.ok("source.wal_log_hints", set["wal_log_hints"]+"; tarn needs neither, on costs WAL")
	if v := set["wal_compression"]; v == "off" {
		c.advise("source.wal_compression", "off", "ALTER SYSTEM SET wal_compression = 'lz4'; SELECT pg_reload_conf(); sends less WAL, for some CPU on the source")
	} else {
		c.ok("source.wal_compression", v)
	}
	if v := set["block_size"]; v != strconv.Itoa(pg.BlockSize) {
		c.fail("source.block_size", fault.SourceBlockSize, "the server is built with pages of "+v+" bytes", "attach to one with 8192")
	} else {
		c.ok("source.block_size", v+", WAL segments of "+set["wal_segment_size"])
	}
}

// synchronous compares what the source waits for with what tarn acknowledges.
func (x *examiner) synchronous(c *checks, e *receive.Exam) {
	const name = "source.synchronous"
	names := e.Settings["synchronous_standby_names"]
	waits := slices.Contains(strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(` ,()"`, r) }), "tarn") || strings.Contains(names, "*")
	switch {
	case waits && !x.Config.Source.Synchronous:
		c.warn(name, "synchronous_standby_names names tarn, and source.synchronous is false: each commit waits for the object store", "set source.synchronous: true, or take tarn out of synchronous_standby_names")
	case !waits && x.Config.Source.Synchronous:
		c.advise(name, "source.synchronous is true, and the source does not wait for tarn", "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (tarn)'; SELECT pg_reload_conf(); makes it wait")
	case waits:
		c.ok(name, "the source's commits wait for tarn")
	default:
		c.ok(name, "asynchronous")
	}
}

// milliseconds reads a duration as SHOW prints it; 0 if it cannot.
func milliseconds(s string) int {
	digits := strings.TrimRight(s, "mshind")
	n, err := strconv.Atoi(digits)
	unit := map[string]int{"": 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}[s[len(digits):]]
	if err != nil {
		return 0
	}
	return n * unit
}
