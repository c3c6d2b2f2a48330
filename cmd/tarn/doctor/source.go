package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
)

// sourceFacts are what the source said.
type sourceFacts struct {
	exam *receive.Exam // nil if there is no connection
	err  error         // why not
}

func (x *examiner) lookAtSource(ctx context.Context) sourceFacts {
	ctx, cancel := context.WithTimeout(ctx, x.SourceWithin)
	defer cancel()
	e, err := receive.Examine(ctx, receive.Source{URL: x.Config.Source.URL}, x.Config.Source.Slot)
	return sourceFacts{e, err}
}

// entry are the checks a failed connection decides, in the order a connection passes them, with the refusals that belong
// to each.
var entry = []struct {
	name  string
	codes []string
}{
	{"source.reachable", []string{receive.CodeURL, receive.CodeUnreachable, receive.CodeStarting, receive.CodeCommand}},
	{"source.pg_hba", []string{receive.CodeHBA}},
	{"source.password", []string{receive.CodePassword}},
	{"source.role", []string{receive.CodeRole}},
	{"source.walsenders", []string{receive.CodeWalsender, receive.CodeWALLevel}},
	{"source.primary", []string{receive.CodeStandby}},
}

// source makes the checks of the source; of the store it needs which cluster that is of.
func (x *examiner) source(f sourceFacts, store storeFacts) (c checks) {
	if f.exam == nil {
		x.noEntry(&c, f.err)
		return c
	}
	e := f.exam
	c.ok("source.reachable", e.At+" answers replication commands, as "+e.User)
	c.ok("source.pg_hba", "a line lets "+e.User+" in for replication")
	x.password(&c, e)
	x.tls(&c, e)
	c.ok("source.role", e.User+" has REPLICATION")
	version(&c, e)
	if e.Standby {
		c.fail("source.primary", fault.SourceStandby, e.At+" is a standby", "name its primary in source.url; the answer of SELECT * FROM pg_stat_wal_receiver there says which it is")
	} else {
		c.ok("source.primary", "it is a primary")
	}
	x.walSettings(&c, e)
	x.pageSettings(&c, e)
	x.slot(&c, e, store)
	x.synchronous(&c, e)
	x.cluster(&c, e, store)
	clockOf(&c, "source.clock", "the source", e.Skew, e.SkewErr)
	return c
}

// noEntry says where a connection stopped; what comes after is not known.
func (x *examiner) noEntry(c *checks, err error) {
	var ae *receive.AttachError
	if !errors.As(err, &ae) {
		ae = &receive.AttachError{Code: receive.CodeUnreachable, Err: err, Msg: "the source gave no answer in " + x.SourceWithin.String(),
			Fix: "check that the server runs, the network, and its load"}
		if !errors.Is(err, context.DeadlineExceeded) && err != nil {
			ae.Msg = "the source cannot be asked (" + err.Error() + ")"
		}
	}
	stopped := false
	for _, s := range entry {
		mine := false
		for _, code := range s.codes {
			mine = mine || code == ae.Code
		}
		switch {
		case mine:
			stopped = true
			*c = append(*c, Check{Name: s.name, State: Fail, Found: config.Redact(ae.Msg), Fix: ae.Fix, Code: ae.FaultCode(), err: ae})
		case stopped || ae.Code == receive.CodeUnreachable || ae.Code == receive.CodeURL:
			c.unknown(s.name, "not asked: there is no connection")
		default:
			c.ok(s.name, "passed")
		}
	}
	if !stopped { // a refusal of a kind that belongs to none above
		c.failErr("source.attach", err)
	}
	c.unknown("source.settings", "version, wal_level, slots, timeline and the rest of the source were not asked: there is no connection")
}

func (x *examiner) password(c *checks, e *receive.Exam) {
	const name = "source.password"
	switch {
	case e.SCRAM:
		c.ok(name, "SCRAM-SHA-256")
	case e.Remote:
		c.warn(name, "the server lets "+e.User+" in over the network without SCRAM-SHA-256",
			"put scram-sha-256 at the end of its pg_hba.conf line, SELECT pg_reload_conf(), and with password_encryption = 'scram-sha-256' ALTER ROLE ... PASSWORD '...'")
	default:
		c.advise(name, "the server lets "+e.User+" in without SCRAM-SHA-256, on this machine", "scram-sha-256 in its pg_hba.conf line asks for a password")
	}
}

func (x *examiner) tls(c *checks, e *receive.Exam) {
	const name = "source.tls"
	switch {
	case e.TLS == "" && e.Remote:
		c.warn(name, "WAL crosses the network in the clear", "ALTER SYSTEM SET ssl = on on the source, and sslmode=verify-full in source.url")
	case e.TLS == "":
		c.ok(name, "none; the connection does not leave this machine")
	case !e.Verified:
		c.advise(name, e.TLS+"; the server's certificate is not checked", "sslmode=verify-full and sslrootcert=FILE in source.url check it")
	default:
		c.ok(name, e.TLS+", certificate checked")
	}
}

// skewMax is the difference of clocks from which lag and freshness are wrong enough to mislead, and signatures fail.
const skewMax = 2 * time.Second

func clockOf(c *checks, name, whose string, skew time.Duration, err error) {
	switch {
	case err != nil:
		c.unknown(name, "not known: "+err.Error())
	case skew.Abs() > skewMax:
		c.warn(name, fmt.Sprintf("the clock of %s is %s %s of this machine's: lag_ms and freshness_ms are wrong by as much", whose, skew.Abs().Round(time.Millisecond), aheadOrBehind(skew)),
			"run NTP on both, such as systemctl enable --now chrony")
	default:
		c.ok(name, fmt.Sprintf("within %s of this machine's", max(skew.Abs().Round(time.Millisecond), time.Millisecond)))
	}
}

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead"
}
