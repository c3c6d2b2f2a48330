package receive

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/pg"
)

// Slot is a physical replication slot as READ_REPLICATION_SLOT shows it.
type Slot struct {
	RestartLSN      pg.LSN        // oldest WAL the server keeps for it
	RestartTimeline pg.TimelineID // timeline of RestartLSN
}

// EnsureSlot returns the named physical slot, made with WAL reserved from now on where it is not there; created says
// which. Refusals are *AttachError.
func EnsureSlot(ctx context.Context, src Source, name string) (slot Slot, created bool, err error) {
	if err := checkSlotName(name); err != nil {
		return Slot{}, false, err
	}
	conn, err := connect(ctx, src)
	if err != nil {
		return Slot{}, false, err
	}
	defer closeConn(conn)
	slot, err = readSlot(ctx, conn, name)
	var ae *AttachError
	if !errors.As(err, &ae) || ae.Code != CodeSlotMissing {
		return slot, false, err
	}
	_, err = row(ctx, conn, "CREATE_REPLICATION_SLOT "+quoteIdent(name)+" PHYSICAL RESERVE_WAL", 1)
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == stateDuplicateObject { // a twin of ours was quicker
		err = nil
	}
	if err != nil {
		return Slot{}, false, slotError(err, name)
	}
	slot, err = readSlot(ctx, conn, name)
	return slot, true, err
}

// ReadSlot describes the named slot; CodeSlotMissing when it is not there.
func ReadSlot(ctx context.Context, src Source, name string) (Slot, error) {
	conn, err := connect(ctx, src)
	if err != nil {
		return Slot{}, err
	}
	defer closeConn(conn)
	return readSlot(ctx, conn, name)
}

// readSlot runs READ_REPLICATION_SLOT: slot_type, restart_lsn, restart_tli; all NULL for a slot that is not there.
func readSlot(ctx context.Context, conn *pgconn.PgConn, name string) (Slot, error) {
	r, err := row(ctx, conn, "READ_REPLICATION_SLOT "+quoteIdent(name), 3)
	if err != nil {
		return Slot{}, slotError(err, name)
	}
	if r == nil || r[0] == nil {
		return Slot{}, &AttachError{Code: CodeSlotMissing, Msg: "replication slot " + name + " is not there",
			Fix: "tarn resync --all starts over with a new one"}
	}
	if r[1] == nil {
		return Slot{}, &AttachError{Code: CodeSlotLost, Msg: "replication slot " + name + " holds no WAL: it was invalidated, or made without reserving any",
			Fix: "SELECT pg_drop_replication_slot('" + name + "'), raise max_slot_wal_keep_size, then tarn resync --all"}
	}
	var s Slot
	if s.RestartLSN, err = parseLSN("restart_lsn", r[1]); err != nil {
		return Slot{}, fmt.Errorf("READ_REPLICATION_SLOT: %w", err)
	}
	if tli, err := strconv.ParseUint(string(r[2]), 10, 32); err == nil { // NULL until the slot's timeline is known
		s.RestartTimeline = pg.TimelineID(tli)
	}
	return s, nil
}

// DropSlot removes the named slot; one that is not there is no error.
func DropSlot(ctx context.Context, src Source, name string) error {
	conn, err := connect(ctx, src)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	_, err = row(ctx, conn, "DROP_REPLICATION_SLOT "+quoteIdent(name), 0)
	var ae *AttachError
	if err = slotErrorOrNil(err, name); errors.As(err, &ae) && ae.Code == CodeSlotMissing {
		return nil
	}
	return err
}

func slotErrorOrNil(err error, name string) error {
	if err == nil {
		return nil
	}
	return slotError(err, name)
}

// checkSlotName holds names to ReplicationSlotValidateName's rule before any goes into a command.
func checkSlotName(name string) error {
	ok := len(name) > 0 && len(name) <= 63
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_')
	}
	if ok {
		return nil
	}
	return &AttachError{Code: CodeSlotName, Msg: fmt.Sprintf("source.slot %q is not a slot name", name),
		Fix: "use a-z, 0-9 and _, up to 63 of them"}
}
