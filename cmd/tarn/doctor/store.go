package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
)

// storeFacts are what the store answered.
type storeFacts struct {
	err      error // why it cannot be opened or listed
	absent   bool  // a folder that is not there yet
	probe    error // of objstore.Check
	skew     time.Duration
	skewErr  error
	took     time.Duration // of the checks' requests
	vends    bool          // it hands out credentials
	vendErr  error         // of objstore.CheckVend
	base     archive.Base  // zero if it holds no WAL
	newest   journal.Entry
	written  bool // newest is one
	readErr  error
	settings map[string]string // what engines are told of it
}

// storeWithin bounds what the store is given to answer.
const storeWithin = 20 * time.Second

func (x *examiner) lookAtStore(ctx context.Context) (f storeFacts) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	if dir, ok := strings.CutPrefix(x.Config.Store, "file://"); ok && !x.Serving {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) { // opening would make it
			f.absent = true
			f.err = writableBelow(dir)
			return f
		}
	}
	store, err := objstore.Open(ctx, x.Config.Store, objstore.Options{S3: x.Config.S3})
	if err != nil {
		f.err = openError(x.Config.Store, err)
		return f
	}
	defer store.Close()
	f.settings = objstore.EngineProperties(store)
	began := time.Now()
	if f.probe = objstore.Check(ctx, store); f.probe == nil {
		f.took = time.Since(began)
		f.skew, f.skewErr = storeClock(ctx, store)
		f.vends = objstore.VendorOf(store) != nil
		f.vendErr = objstore.CheckVend(ctx, store)
	}
	f.base, err = archive.ReadBase(ctx, store)
	if err != nil && !errors.Is(err, archive.ErrNoBase) {
		f.readErr = err
		return f
	}
	f.newest, f.written, f.readErr = journal.New(store, nil).Newest(ctx)
	return f
}

// openError names the store and the cure; an S3 store's errors do already.
func openError(url string, err error) error {
	if strings.HasPrefix(url, "s3:") {
		return fault.Or(fault.StoreOpen, err)
	}
	return fault.Errorf(fault.StoreOpen, "store %s cannot be opened (%w): check store in tarn.yaml or --store", url, fault.Cause(err))
}

// storeClock compares the time the store gives an object with ours.
func storeClock(ctx context.Context, store objstore.Store) (time.Duration, error) {
	key := "preflight-clock-" + rand.Text()
	before := time.Now()
	if _, err := store.Put(ctx, key, []byte("tarn\n")); err != nil {
		return 0, err
	}
	half := time.Since(before) / 2
	info, err := store.Head(ctx, key)
	if err = errors.Join(err, store.Delete(ctx, key)); err != nil {
		return 0, err
	}
	skew := info.ModTime.Sub(before.Add(half))
	if skew.Abs() < time.Second { // services round to seconds
		skew = 0
	}
	return skew, nil
}

func (x *examiner) store(f storeFacts) (c checks) {
	url := x.Config.Store
	switch {
	case f.err != nil:
		c.failErr("store.reachable", f.err)
		c.unknown("store.writable", "not asked: the store cannot be opened")
		return c
	case f.absent:
		c.advise("store.reachable", url+" is not there yet: tarn makes it when it starts", "")
		c.unknown("store.writable", "not tried: that would make the folder; the one above it can be written")
		return c
	}
	c.ok("store.reachable", url)
	x.probe(&c, f)
	clockOf(&c, "store.clock", "the store", f.skew, errors.Join(f.skewErr, f.probe))
	x.endpoint(&c, f)
	x.vend(&c, f)
	x.owner(&c, f)
	return c
}

// vend says what became of the credential that was tried.
func (x *examiner) vend(c *checks, f storeFacts) {
	const name = "store.vend"
	switch {
	case !x.Config.S3.Vend:
	case f.probe != nil:
		c.unknown(name, "not tried: nothing can be written")
	case errors.Is(f.vendErr, objstore.ErrVendWide) || f.vendErr != nil && !x.Serving:
		c.failErr(name, fault.Or(fault.StoreVend, f.vendErr))
	case f.vendErr != nil: // no reason to let the WAL pile up; the catalog answers 503 until it is mended
		found, fix := cutFix(f.vendErr)
		c.warn(name, found, fix)
	default:
		c.ok(name, "a credential for one prefix reads it, and is refused what lies outside, a list, a write and a delete")
	}
}

// probe says what became of the probe objects.
func (x *examiner) probe(c *checks, f storeFacts) {
	url, err := x.Config.Store, f.probe
	const trust = "two writers could both win there; name a store that honours them with --store, such as Amazon S3, MinIO or a folder"
	switch {
	case err == nil:
		c.ok("store.writable", fmt.Sprintf("a probe object was written, read and removed (%s)", f.took.Round(time.Millisecond)))
		c.ok("store.conditional_put", "If-None-Match and If-Match are honoured")
		c.ok("store.listing", "what was just written is listed")
	case errors.Is(err, objstore.ErrNotConditional):
		c.ok("store.writable", "a probe object was written and removed")
		err = fault.Errorf(fault.StoreNotConditional, "store %s cannot be used (%w): %s", url, err, trust)
		*c = append(*c, Check{Name: "store.conditional_put", State: Fail, Found: f.probe.Error(), Fix: trust, Code: fault.StoreNotConditional, err: err})
		c.unknown("store.listing", "not tried")
	case errors.Is(err, objstore.ErrStale):
		c.ok("store.writable", "a probe object was written and removed")
		c.ok("store.conditional_put", "If-None-Match and If-Match are honoured")
		c.fail("store.listing", fault.StoreStale, err.Error(), "reach the store directly, without a cache in front")
	default:
		var answer *objstore.S3Error
		if errors.As(err, &answer) && answer.Fix() != "" {
			err = fault.Errorf(answer.FaultCode(), "store %s cannot be used: %w", url, err)
		} else {
			err = fault.Errorf(fault.StoreWrite, "store %s cannot be written (%w): give the user tarn runs as the right to write there, or name another with --store", url, fault.Cause(err))
		}
		c.failErr("store.writable", err)
		c.unknown("store.conditional_put", "not tried: nothing can be written")
		c.unknown("store.listing", "not tried: nothing can be written")
	}
}

func (x *examiner) endpoint(c *checks, f storeFacts) {
	if f.settings == nil {
		c.ok("store.endpoint", "a folder: engines must see it under the same path")
		return
	}
	endpoint := f.settings["s3.endpoint"]
	if endpoint == "" {
		endpoint = "Amazon's own"
	}
	c.ok("store.endpoint", fmt.Sprintf("%s, region %s, path style %s", endpoint, f.settings["s3.region"], f.settings["s3.path-style-access"]))
}

// recent is how young the last entry of the catalog log must be to make one believe that another tarn is writing.
const recent = 10 * time.Second

// owner says who wrote to the store last.
func (x *examiner) owner(c *checks, f storeFacts) {
	const name = "store.owner"
	switch {
	case f.readErr != nil:
		c.failErr(name, f.readErr)
	case !f.written && f.base.SystemID == 0:
		c.ok(name, "nothing is in it yet")
	case f.written && x.running == nil && !x.Serving && time.Since(f.newest.Time) < recent:
		c.warn(name, fmt.Sprintf("a tarn of epoch %d wrote to it %s ago, and none runs on this configuration", f.newest.Epoch, time.Since(f.newest.Time).Round(time.Second)),
			"stop that one first: a newer one takes the store over, and the older ends")
	case f.written:
		c.ok(name, fmt.Sprintf("cluster %d, epoch %d, published up to %s", f.base.SystemID, f.newest.Epoch, f.newest.LSN))
	default:
		c.ok(name, fmt.Sprintf("cluster %d, nothing published yet", f.base.SystemID))
	}
}

// writableBelow says whether a folder that is not there could be made.
func writableBelow(dir string) error {
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		st, err := os.Stat(up)
		switch {
		case errors.Is(err, os.ErrNotExist) && up != filepath.Dir(up):
			continue
		case err == nil && st.IsDir() && mayWrite(up):
			return nil
		case err == nil && !st.IsDir():
			err = syscall.ENOTDIR
		case err == nil:
			err = os.ErrPermission
		}
		return fault.Errorf(fault.StoreOpen, "%s cannot be made (%w): give the user tarn runs as the right to write to %s, or name another folder", dir, fault.Cause(err), up)
	}
}
