// Package doctor looks at everything tarn depends on before it starts: the source, the store, this machine, the ports and
// the engines that will read. Each check says what it found and, where something is to do, the exact SQL, setting or
// command. `tarn doctor` prints them; `tarn serve` runs the same and ends on a failure.
//
// Nothing is changed: no slot, no folder, no setting. Two probe objects are written to the store and removed again, two more
// if it hands out credentials, and one to data_dir if that is there: whether a disk or a bucket can be written shows only
// in writing.
package doctor

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
)

// State is the outcome of a check.
type State string

// The states. Unknown means that it could not be found out, mostly for want of rights; the text says why.
const (
	OK      State = "ok"
	Warn    State = "warn"
	Fail    State = "fail"
	Unknown State = "unknown"
)

// Check is one thing looked at.
type Check struct {
	Name  string     `json:"name"`  // such as source.wal_level; stable
	State State      `json:"state"` //
	Found string     `json:"found"` // what was found
	Fix   string     `json:"fix"`   // the SQL, setting or command to put it right, or advice where nothing is wrong; may be empty
	Code  fault.Code `json:"code,omitzero"`

	err error // of a failure: the error a start would end with
}

// Err is a failed check as the error a start ends with.
func (c *Check) Err() error {
	if c.err != nil {
		return c.err
	}
	text := c.Found
	if c.Fix != "" {
		text += ": " + c.Fix
	}
	return fault.New(c.Code, text)
}

// Report is what was found, in a fixed order.
type Report struct {
	Checks   []Check
	Attached bool // the store holds WAL of a source: it was attached before
}

// OfSource says whether a check is of the source.
func OfSource(name string) bool { return strings.HasPrefix(name, "source.") }

// Count says how many checks ended so.
func (r Report) Count(s State) (n int) {
	for _, c := range r.Checks {
		if c.State == s {
			n++
		}
	}
	return n
}

// Failed lists the checks that failed.
func (r Report) Failed() (failed []Check) {
	for _, c := range r.Checks {
		if c.State == Fail {
			failed = append(failed, c)
		}
	}
	return failed
}

// Find gives a check by its name; nil if there is none.
func (r Report) Find(name string) *Check {
	if i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == name }); i >= 0 {
		return &r.Checks[i]
	}
	return nil
}

// Options of a run.
type Options struct {
	Config *config.Config
	// Serving: a server is about to start. Folders that are not there are made, and no tarn is looked for on our own port.
	Serving bool
	// Client asks the tarn that may run on this configuration already. Default a plain one on http.listen.
	Client *admin.Client
	// SourceWithin bounds what the source is given to answer. Default 10 s.
	SourceWithin time.Duration
}

// examiner is one run.
type examiner struct {
	Options
	running *admin.Status // of the tarn that runs on this configuration already; nil if none does
}

// Run looks at everything. It returns within SourceWithin and what the store needs.
func Run(ctx context.Context, o Options) Report {
	if o.SourceWithin == 0 {
		o.SourceWithin = 10 * time.Second
	}
	x := &examiner{Options: o}
	if !o.Serving {
		x.findRunning(ctx)
	}
	var wg sync.WaitGroup
	var source sourceFacts
	var store storeFacts
	var host checks
	wg.Go(func() { source = x.lookAtSource(ctx) })
	wg.Go(func() { store = x.lookAtStore(ctx) })
	wg.Go(func() { host = x.host() })
	wg.Wait()
	return Report{
		Checks:   slices.Concat(x.source(source, store), x.store(store), host, x.listeners(), x.engines(), x.tables()),
		Attached: store.base.SystemID != 0,
	}
}

// findRunning asks whether a tarn runs on this configuration already: it holds the ports, the folder and the slot then.
func (x *examiner) findRunning(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c := x.Client
	if c == nil {
		c = &admin.Client{Addr: x.Config.HTTP.Listen}
	}
	if s, err := c.Status(ctx); err == nil {
		x.running = &s
	}
}

// checks collects the checks of one part.
type checks []Check

func (c *checks) ok(name, found string) { *c = append(*c, Check{Name: name, State: OK, Found: found}) }

func (c *checks) advise(name, found, advice string) {
	*c = append(*c, Check{Name: name, State: OK, Found: found, Fix: advice})
}

func (c *checks) warn(name, found, fix string) {
	*c = append(*c, Check{Name: name, State: Warn, Found: found, Fix: fix})
}

func (c *checks) unknown(name, why string) {
	*c = append(*c, Check{Name: name, State: Unknown, Found: why})
}

func (c *checks) fail(name string, code fault.Code, found, fix string) {
	*c = append(*c, Check{Name: name, State: Fail, Found: found, Fix: fix, Code: code})
}

// failErr is a failure that is an error already: "what: what to do".
func (c *checks) failErr(name string, err error) {
	found, fix := cutFix(err)
	*c = append(*c, Check{Name: name, State: Fail, Found: found, Fix: fix, Code: fault.CodeOf(err), err: err})
}

// cutFix divides an error at its last colon, behind which is what to do.
func cutFix(err error) (found, fix string) {
	found = err.Error()
	if i := strings.LastIndex(found, ": "); i > 0 {
		return found[:i], found[i+2:]
	}
	return found, ""
}
