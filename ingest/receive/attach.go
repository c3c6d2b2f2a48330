package receive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/fault"
)

// Codes of AttachError: one per reason a source cannot be attached.
const (
	CodeURL         = "url"          // the connection string does not parse
	CodeUnreachable = "unreachable"  // no server answers there, or TLS fails
	CodeStarting    = "starting"     // the server starts up or shuts down
	CodePassword    = "password"     // wrong or missing password
	CodeHBA         = "pg_hba"       // no pg_hba.conf line lets the role in for replication
	CodeRole        = "role"         // the role lacks REPLICATION, or does not exist
	CodeVersion     = "version"      // not 15-18
	CodeWALLevel    = "wal_level"    // wal_level=minimal
	CodeBlockSize   = "block_size"   // built with another page size
	CodeStandby     = "standby"      // the server is in recovery
	CodeWalsender   = "no_walsender" // max_wal_senders are all in use
	CodeSlotFree    = "no_slot"      // max_replication_slots are all in use
	CodeSlotName    = "slot_name"    // not a name Postgres allows
	CodeSlotInUse   = "slot_in_use"  // another client streams from the slot
	CodeSlotLogical = "slot_logical" // the slot is logical
	CodeSlotMissing = "slot_missing" // the slot is not there
	CodeSlotLost    = "slot_lost"    // the server invalidated the slot
	CodeSystemID    = "system_id"    // another cluster than the one the data came from
	CodeTimeline    = "timeline"     // the server is on a timeline that was left: a former primary
	CodeHistory     = "history"      // the server does not have the history of its timeline
	CodeCommand     = "command"      // the server refused a replication command for another reason
)

// AttachError says why a source cannot be attached, and what to do about it.
type AttachError struct {
	Code string // one of the Code constants
	Msg  string // what is wrong, naming the thing
	Fix  string // the SQL or setting that cures it
	Err  error  // the cause, if there is one
}

// Error is one line: what, then the fix.
func (e *AttachError) Error() string { return e.Msg + ": " + e.Fix }

// FaultCode implements fault.Coded.
func (e *AttachError) FaultCode() fault.Code { return faultCodes[e.Code] }

var faultCodes = map[string]fault.Code{
	CodeURL: fault.SourceURL, CodeUnreachable: fault.SourceUnreachable, CodeStarting: fault.SourceStarting,
	CodePassword: fault.SourcePassword, CodeHBA: fault.SourceHBA, CodeRole: fault.SourceRole, CodeVersion: fault.SourceVersion,
	CodeWALLevel: fault.SourceWALLevel, CodeBlockSize: fault.SourceBlockSize, CodeStandby: fault.SourceStandby,
	CodeWalsender: fault.SourceWalsenders, CodeSlotFree: fault.SourceSlots, CodeSlotName: fault.SlotName,
	CodeSlotInUse: fault.SlotInUse, CodeSlotLogical: fault.SlotLogical, CodeSlotMissing: fault.SlotMissing,
	CodeSlotLost: fault.SlotLost, CodeSystemID: fault.SourceOther, CodeTimeline: fault.SourceFormer,
	CodeHistory: fault.SourceHistory, CodeCommand: fault.SourceCommand,
}

// Unwrap gives the cause.
func (e *AttachError) Unwrap() error { return e.Err }

// Temporary says that time alone may cure it, so that a service that has been attached before tries again.
func (e *AttachError) Temporary() bool {
	switch e.Code {
	case CodeUnreachable, CodeStarting, CodeWalsender, CodeSlotInUse:
		return true
	}
	return false
}

// SQLSTATEs that tell one refusal from another; server messages are translated, these are not.
const (
	stateInvalidPassword    = "28P01"
	stateInvalidAuth        = "28000"
	statePrivilege          = "42501"
	stateTooManyConnections = "53300"
	stateConfigLimit        = "53400"
	stateObjectInUse        = "55006"
	stateNotPrerequisite    = "55000"
	stateUndefinedObject    = "42704"
	stateDuplicateObject    = "42710"
	stateUndefinedFile      = "58P01"
	stateCannotConnectNow   = "57P03"
	stateAdminShutdown      = "57P01"
	stateCrashShutdown      = "57P02"
	stateFeatureUnsupported = "0A000"
	stateInvalidName        = "42602"
	stateUndefinedDatabase  = "3D000"
	stateInternal           = "XX000" // errors raised without a code
)

// attachError classifies a failed connection attempt.
func attachError(err error, cfg *pgconn.Config) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var standby *AttachError
	if errors.As(err, &standby) { // refuseStandby's: no other host answers, or none is the primary
		return standby
	}
	at := fmt.Sprintf("%s:%d", cfg.Host, cfg.Port)
	if strings.HasPrefix(cfg.Host, "/") {
		at = fmt.Sprintf("%s (port %d)", cfg.Host, cfg.Port)
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return &AttachError{Code: CodeUnreachable, Err: err,
			Msg: "no connection to Postgres at " + at + " (" + cause(err) + ")",
			Fix: "check that the server runs, listen_addresses, the port, the network and sslmode"}
	}
	ae := &AttachError{Code: CodeCommand, Err: err, Msg: at + " refused the connection (" + oneLine(pe.Message) + ")",
		Fix: "see the server's log"}
	switch pe.Code {
	case stateInvalidPassword:
		ae.Code, ae.Msg = CodePassword, "the password for role "+cfg.User+" at "+at+" is missing or wrong"
		ae.Fix = "set it in PGPASSWORD or a password file, or ALTER ROLE " + quoteIdent(cfg.User) + " PASSWORD '...'"
	case stateInvalidAuth:
		if strings.Contains(pe.Routine, "Initialize") { // InitializeSessionUserId: the role is not there or may not log in
			ae.Code, ae.Msg = CodeRole, "role "+cfg.User+" cannot log in at "+at+" ("+oneLine(pe.Message)+")"
			ae.Fix = "CREATE ROLE " + quoteIdent(cfg.User) + " LOGIN REPLICATION PASSWORD '...'"
			break
		}
		ae.Code, ae.Msg = CodeHBA, "pg_hba.conf of "+at+" lets role "+cfg.User+" in for no replication connection from here"
		ae.Fix = "add the line: host replication " + cfg.User + " <address>/32 scram-sha-256, then SELECT pg_reload_conf()"
	case statePrivilege:
		ae.Code, ae.Msg = CodeRole, "role "+cfg.User+" at "+at+" lacks REPLICATION"
		ae.Fix = "ALTER ROLE " + quoteIdent(cfg.User) + " REPLICATION"
	case stateTooManyConnections:
		ae.Code, ae.Msg = CodeWalsender, at+" has no free walsender ("+oneLine(pe.Message)+")"
		ae.Fix = "raise max_wal_senders (restart)"
		if strings.Contains(pe.Message, " 0)") { // minimal WAL demands max_wal_senders = 0
			ae.Code, ae.Msg = CodeWALLevel, at+" writes no WAL for replication: max_wal_senders is 0, as wal_level=minimal demands"
			ae.Fix = "ALTER SYSTEM SET wal_level = replica; ALTER SYSTEM SET max_wal_senders = 10; restart the server"
		}
	case stateCannotConnectNow, stateAdminShutdown, stateCrashShutdown:
		ae.Code, ae.Fix = CodeStarting, "wait until it accepts connections"
	}
	return ae
}

// cause is the innermost text of a connection error. pgconn wraps it in several layers and joins those of each address
// and of each try with and without TLS, which mostly say the same.
func cause(err error) string {
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return oneLine(err.Error())
	}
	var reasons []string
	for line := range strings.SplitSeq(connect.Unwrap().Error(), "\n") {
		if _, reason, ok := strings.Cut(line, "): "); ok { // "host:port (address): "
			line = reason
		}
		for _, layer := range []string{"dial error: ", "tls error: ", "hostname resolving error: "} {
			line = strings.TrimPrefix(line, layer)
		}
		if line = oneLine(line); line != "" && !slices.Contains(reasons, line) {
			reasons = append(reasons, line)
		}
	}
	return strings.Join(reasons, "; ")
}

// slotError classifies a refused slot command; errors that are not the server's answer are returned as they are.
func slotError(err error, slot string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	ae := &AttachError{Code: CodeCommand, Err: err, Msg: "replication slot " + slot + ": " + oneLine(pe.Message), Fix: "see the server's log"}
	switch pe.Code {
	case stateObjectInUse:
		ae.Code, ae.Fix = CodeSlotInUse, "stop its other client, or give this one its own source.slot"
	case stateConfigLimit:
		ae.Code, ae.Msg = CodeSlotFree, "the server has no free replication slot for "+slot
		ae.Fix = "raise max_replication_slots (restart), or drop one in pg_replication_slots that nobody uses"
	case stateUndefinedObject:
		ae.Code, ae.Msg, ae.Fix = CodeSlotMissing, "replication slot "+slot+" is not there", "tarn resync --all starts over with a new one"
	case stateInvalidName:
		ae.Code, ae.Fix = CodeSlotName, "source.slot may hold a-z, 0-9 and _, up to 63 of them"
	case stateFeatureUnsupported:
		ae.Code, ae.Msg = CodeSlotLogical, "replication slot "+slot+" is logical"
		ae.Fix = "name another source.slot: tarn makes its own physical one"
	case statePrivilege:
		ae.Code, ae.Fix = CodeRole, "give the role REPLICATION"
	case stateNotPrerequisite:
		classifyPrerequisite(ae, pe, slot)
	}
	return ae
}

// classifyPrerequisite tells the reasons of SQLSTATE 55000 apart by the function of the server that raised it.
func classifyPrerequisite(ae *AttachError, pe *pgconn.PgError, slot string) {
	switch {
	case strings.Contains(pe.Routine, "CheckSlotRequirements"): // CheckSlotRequirements
		ae.Code, ae.Msg = CodeSlotFree, "the server keeps no replication slots ("+oneLine(pe.Message)+")"
		ae.Fix = "ALTER SYSTEM SET max_replication_slots = 10; ALTER SYSTEM SET wal_level = replica; restart the server"
	case strings.Contains(pe.Routine, "StartReplication") || strings.Contains(pe.Routine, "ReadReplicationSlot"):
		ae.Code, ae.Msg = CodeSlotLogical, "replication slot "+slot+" is logical"
		ae.Fix = "name another source.slot: tarn makes its own physical one"
	case strings.Contains(pe.Routine, "SlotAcquire") || strings.Contains(pe.Routine, "Invalidated"):
		ae.Code = CodeSlotLost
		ae.Fix = "SELECT pg_drop_replication_slot('" + slot + "'), raise max_slot_wal_keep_size, then tarn resync --all"
	}
}
