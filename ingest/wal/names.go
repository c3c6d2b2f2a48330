package wal

import (
	"fmt"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// rmgrNames are pg_waldump's (access/rmgrlist.h), by number.
var rmgrNames = [...]string{
	"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap", "Standby", "Heap2", "Heap",
	"Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN", "CommitTs", "ReplicationOrigin", "Generic", "LogicalMessage",
}

// String names a resource manager as pg_waldump does.
func (id RMID) String() string {
	switch {
	case int(id) < len(rmgrNames):
		return rmgrNames[id]
	case id >= RMCustomMin:
		return fmt.Sprintf("custom%03d", uint8(id))
	}
	return fmt.Sprintf("UNKNOWN (%d)", uint8(id))
}

// ParseRMID is the inverse of RMID.String; case does not matter.
func ParseRMID(name string) (RMID, error) {
	for i, n := range rmgrNames {
		if strings.EqualFold(n, name) {
			return RMID(i), nil
		}
	}
	var n int
	if c, err := fmt.Sscanf(name, "custom%03d", &n); err == nil && c == 1 && n >= int(RMCustomMin) && n <= 255 {
		return RMID(n), nil
	}
	return 0, fmt.Errorf("no resource manager %q; there are %s and custom128 to custom255", name, strings.Join(rmgrNames[:], ", "))
}

// recordNames are the rm_identify functions: record type by xl_info's upper half, shifted. Empty is unknown.
// Those that differ between majors are in RecordName.
var recordNames = [...][16]string{
	RMXLog: {"CHECKPOINT_SHUTDOWN", "CHECKPOINT_ONLINE", "NOOP", "NEXTOID", "SWITCH", "BACKUP_END", "PARAMETER_CHANGE",
		"RESTORE_POINT", "FPW_CHANGE", "END_OF_RECOVERY", "FPI_FOR_HINT", "FPI", "", "OVERWRITE_CONTRECORD"},
	RMXact:      {"COMMIT", "PREPARE", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED", "ASSIGNMENT", "INVALIDATION"},
	RMSmgr:      {1: "CREATE", 2: "TRUNCATE"},
	RMClog:      {"ZEROPAGE", "TRUNCATE"},
	RMDbase:     {"CREATE_FILE_COPY", "CREATE_WAL_LOG", "DROP"},
	RMTblspc:    {"CREATE", "DROP"},
	RMMultiXact: {"ZERO_OFF_PAGE", "ZERO_MEM_PAGE", "CREATE_ID", "TRUNCATE_ID"},
	RMRelMap:    {"UPDATE"},
	RMStandby:   {"LOCK", "RUNNING_XACTS", "INVALIDATIONS"},
	RMHeap2: {0: "REWRITE", 1: "PRUNE", 2: "VACUUM", 3: "FREEZE_PAGE", 4: "VISIBLE", 5: "MULTI_INSERT", 6: "LOCK_UPDATED",
		7: "NEW_CID", 13: "MULTI_INSERT+INIT"},
	RMHeap: {0: "INSERT", 1: "DELETE", 2: "UPDATE", 3: "TRUNCATE", 4: "HOT_UPDATE", 5: "HEAP_CONFIRM", 6: "LOCK", 7: "INPLACE",
		8: "INSERT+INIT", 10: "UPDATE+INIT", 12: "HOT_UPDATE+INIT"},
	RMBtree: {"INSERT_LEAF", "INSERT_UPPER", "INSERT_META", "SPLIT_L", "SPLIT_R", "INSERT_POST", "DEDUP", "DELETE", "UNLINK_PAGE",
		"UNLINK_PAGE_META", "NEWROOT", "MARK_PAGE_HALFDEAD", "VACUUM", "REUSE_PAGE", "META_CLEANUP"},
	RMHash: {"INIT_META_PAGE", "INIT_BITMAP_PAGE", "INSERT", "ADD_OVFL_PAGE", "SPLIT_ALLOCATE_PAGE", "SPLIT_PAGE", "SPLIT_COMPLETE",
		"MOVE_PAGE_CONTENTS", "SQUEEZE_PAGE", "DELETE", "SPLIT_CLEANUP", "UPDATE_META_PAGE", "VACUUM_ONE_PAGE"},
	RMGin: {1: "CREATE_PTREE", 2: "INSERT", 3: "SPLIT", 4: "VACUUM_PAGE", 5: "DELETE_PAGE", 6: "UPDATE_META_PAGE", 7: "INSERT_LISTPAGE",
		8: "DELETE_LISTPAGE", 9: "VACUUM_DATA_LEAF_PAGE"},
	RMGist: {0: "PAGE_UPDATE", 1: "DELETE", 2: "PAGE_REUSE", 3: "PAGE_SPLIT", 6: "PAGE_DELETE", 7: "ASSIGN_LSN"},
	RMSeq:  {"LOG"},
	RMSpgist: {1: "ADD_LEAF", 2: "MOVE_LEAFS", 3: "ADD_NODE", 4: "SPLIT_TUPLE", 5: "PICKSPLIT", 6: "VACUUM_LEAF", 7: "VACUUM_ROOT",
		8: "VACUUM_REDIRECT"},
	RMBrin: {0: "CREATE_INDEX", 1: "INSERT", 2: "UPDATE", 3: "SAMEPAGE_UPDATE", 4: "REVMAP_EXTEND", 5: "DESUMMARIZE",
		9: "INSERT+INIT", 10: "UPDATE+INIT"},
	RMCommitTs:   {"ZEROPAGE", "TRUNCATE"},
	RMReplOrigin: {"SET", "DROP"},
	RMGeneric: {"Generic", "Generic", "Generic", "Generic", "Generic", "Generic", "Generic", "Generic", "Generic", "Generic",
		"Generic", "Generic", "Generic", "Generic", "Generic", "Generic"},
	RMLogicalMsg: {"MESSAGE"},
}

// prune17 are RM_HEAP2_ID's names from 17 on, where one record does what three did.
var prune17 = [16]string{1: "PRUNE_ON_ACCESS", 2: "PRUNE_VACUUM_SCAN", 3: "PRUNE_VACUUM_CLEANUP"}

// RecordName names a record's type as pg_waldump of its major does: "INSERT+INIT", or "UNKNOWN (f0)".
func RecordName(major pg.Major, id RMID, info uint8) string {
	op := info >> 4
	if id == RMXact {
		op &= 7 // the eighth bit says that xinfo follows
	}
	name := ""
	switch {
	case int(id) >= len(recordNames):
	case major >= pg.PG17 && id == RMHeap2 && prune17[op] != "":
		name = prune17[op]
	case major >= pg.PG17 && id == RMXLog && op == 0xE:
		name = "CHECKPOINT_REDO"
	default:
		name = recordNames[id][op]
	}
	if name == "" {
		return fmt.Sprintf("UNKNOWN (%x)", op<<4)
	}
	return name
}

// TypeName is RecordName of the record.
func (r *Record) TypeName() string { return RecordName(r.Major, r.RMID, r.Info) }

// RecordTypes lists the record types that a major version can write, as "Heap/INSERT", in order of their numbers.
func RecordTypes(major pg.Major) (names []string) {
	for id := range recordNames {
		seen := ""
		for op := range uint8(16) {
			name := RecordName(major, RMID(id), op<<4)
			switch {
			case strings.HasPrefix(name, "UNKNOWN"), name == seen: // an xl_info that says more, or nothing
			case RMID(id) == RMXact && op > 7:
			case RMID(id) == RMHeap && name == "HOT_UPDATE+INIT": // has a name, but the old version is on the same page
			default:
				names = append(names, RMID(id).String()+"/"+name)
			}
			seen = name
		}
	}
	return names
}
