package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
)

// vendor stands for a store with an STS: it counts, and fails or takes its time as it is told.
type vendor struct {
	mu    sync.Mutex
	asked []string // prefixes
	lasts time.Duration
	takes time.Duration
	err   error
}

const vendedSecret, vendedToken = "canarySecret-9c1e", "canarySession-40b2"

func (v *vendor) Vend(ctx context.Context, prefix string) (objstore.Credential, error) {
	v.mu.Lock()
	v.asked = append(v.asked, prefix)
	n, err, takes, lasts := len(v.asked), v.err, v.takes, v.lasts
	v.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return objstore.Credential{}, ctx.Err()
	}
	if err != nil {
		return objstore.Credential{}, err
	}
	return objstore.Credential{AccessKeyID: fmt.Sprint("ASIA", n), SecretAccessKey: vendedSecret, SessionToken: vendedToken, Expires: time.Now().Add(lasts)}, nil
}

func (v *vendor) set(change func(*vendor)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vendor) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.asked)
}

const (
	delegation = "X-Iceberg-Access-Delegation"
	tablePath  = "/v1/app/namespaces/public/tables/t00"
)

func anyone(*http.Request) bool { return true }

// TestVendedToNobody: a catalog that asks nobody who he is hands no credentials out, and one that does none to strangers.
func TestVendedToNobody(t *testing.T) {
	c, v := newVendingClient(t, nil)
	opts := c.opts
	opts.Allow = nil
	if _, err := rest.New(opts); err == nil {
		t.Error("credentials for whoever asks")
	}
	opts.Allow = func(*http.Request) bool { return false }
	closed := serve(t, opts)
	for _, path := range []string{tablePath, tablePath + "/credentials"} {
		closed.refused(closed.do("GET", path, delegation, "vended-credentials"), 401, "NotAuthorizedException", "tokens_file")
	}
	if v.count() != 0 {
		t.Errorf("asked %d times for strangers", v.count())
	}
}

// newVendingClient asks a catalog whose store vends; log takes its log.
func newVendingClient(t *testing.T, log *strings.Builder) (*client, *vendor) {
	t.Helper()
	opts := newClient(t).opts
	v := &vendor{lasts: time.Hour}
	opts.Registerer, opts.Vendor, opts.Allow = nil, v, anyone
	if log != nil {
		opts.Logger = slog.New(fault.Handler(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	}
	return serve(t, opts), v
}

// TestVended: a credential goes to those alone who ask for one, in both places where clients look, for the prefix of the
// very table.
func TestVended(t *testing.T) {
	c, v := newVendingClient(t, nil)
	plain := c.do("GET", tablePath)
	if plain.code != 200 || v.count() != 0 || strings.Contains(plain.raw, "canary") || plain.body["storage-credentials"] != nil {
		t.Errorf("who does not ask: %d, asked %d times", plain.code, v.count())
	}
	c.do("GET", tablePath, delegation, "remote-signing")
	c.do("HEAD", tablePath, delegation, "vended-credentials")
	if v.count() != 0 {
		t.Errorf("asked %d times for nobody", v.count())
	}
	a := c.do("GET", tablePath, delegation, "remote-signing, Vended-Credentials")
	config := a.body["config"].(map[string]any)
	list := a.body["storage-credentials"].([]any)
	one := list[0].(map[string]any)
	location := a.body["metadata"].(map[string]any)["location"].(string)
	if len(list) != 1 || one["prefix"] != location+"/" || !strings.HasSuffix(location, strings.TrimSuffix(v.asked[0], "/")) {
		t.Errorf("prefix %v, asked for %v, the table is at %s", one["prefix"], v.asked, location)
	}
	for _, in := range []map[string]any{config, one["config"].(map[string]any)} {
		if in["s3.access-key-id"] != "ASIA1" || in["s3.secret-access-key"] != vendedSecret || in["s3.session-token"] != vendedToken || len(in["s3.session-token-expires-at-ms"].(string)) != 13 {
			t.Errorf("%v", in)
		}
	}
	if config["client.region"] != "local" || config["client.refresh-credentials-endpoint"] != tablePath[1:]+"/credentials" {
		t.Errorf("%v", config)
	}
	again := c.do("GET", tablePath+"/credentials")
	if !reflect.DeepEqual(again.body, map[string]any{"storage-credentials": list}) || v.count() != 1 || again.header.Get("Cache-Control") != "no-store" {
		t.Errorf("asked %d times: %s", v.count(), again.raw)
	}
	// Another version of a table is of the same prefix, another table is not.
	c.do("GET", "/v1/app~400~2F200/namespaces/public/tables/t00", delegation, "vended-credentials")
	odd := c.do("GET", "/v1/app/namespaces/Odd%20Schema/tables/a%2Fb%20%C3%BC%2541", delegation, "vended-credentials")
	if v.count() != 2 || v.asked[0] == v.asked[1] {
		t.Errorf("asked for %v", v.asked)
	}
	refresh := odd.body["config"].(map[string]any)["client.refresh-credentials-endpoint"].(string)
	if a := c.do("GET", "/"+refresh); a.code != 200 || v.count() != 2 {
		t.Errorf("%s: %d", refresh, a.code)
	}
	c.refused(c.do("GET", "/v1/app/namespaces/public/tables/nope/credentials"), 404, "NoSuchTableException", "nope")
	c.refused(c.do("GET", "/v1/nope/namespaces/public/tables/t00/credentials"), 404, "NoSuchWarehouseException", "nope")
}

// TestVendedIsListed: clients hear of the endpoint where it is, and only there.
func TestVendedIsListed(t *testing.T) {
	const endpoint = "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials"
	on, _ := newVendingClient(t, nil)
	if a := on.do("GET", "/v1/config?warehouse=app"); !strings.Contains(a.raw, endpoint) {
		t.Error(a.raw)
	}
	off := newClient(t)
	if a := off.do("GET", "/v1/config?warehouse=app"); strings.Contains(a.raw, "credentials") {
		t.Error(a.raw)
	}
	if a := off.do("GET", tablePath, delegation, "vended-credentials"); a.code != 200 || strings.Contains(a.raw, "s3.") || a.header.Get("Vary") == delegation {
		t.Errorf("%d %s", a.code, a.raw)
	}
}

// direct asks the handler without a network, so that time can be a test's.
func direct(t *testing.T, h http.Handler, path, etag string, leaves time.Duration) *httptest.ResponseRecorder {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if leaves > 0 {
		time.AfterFunc(leaves, cancel)
	}
	r := httptest.NewRequestWithContext(ctx, "GET", path, http.NoBody)
	r.Header.Set(delegation, "vended-credentials")
	r.Header.Set("If-None-Match", etag)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// bubble runs a test in time of its own.
func bubble(t *testing.T, test func(t *testing.T, h http.Handler, v *vendor)) {
	opts := newClient(t).opts // its servers are outside
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{lasts: time.Hour}
		opts.Registerer, opts.Vendor, opts.Allow = nil, v, anyone
		h, err := rest.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		test(t, h, v)
	})
}

// TestVendedETag: a 304 is for the very credential the client has, which is good for as long as a new one would be; another
// credential is another answer.
func TestVendedETag(t *testing.T) {
	bubble(t, func(t *testing.T, h http.Handler, v *vendor) {
		first := direct(t, h, tablePath, "", 0)
		etag := first.Header().Get("ETag")
		same := direct(t, h, tablePath, etag, 0)
		for _, w := range []*httptest.ResponseRecorder{first, same} {
			if !strings.Contains(strings.Join(w.Header().Values("Vary"), ","), delegation) {
				t.Errorf("%d varies with %v", w.Code, w.Header().Values("Vary"))
			}
		}
		if first.Code != 200 || same.Code != 304 || v.count() != 1 {
			t.Errorf("%d, %d, asked %d times", first.Code, same.Code, v.count())
		}
		time.Sleep(31 * time.Minute)
		if w := direct(t, h, tablePath, etag, 0); w.Code != 200 || w.Header().Get("ETag") == etag || !strings.Contains(w.Body.String(), "ASIA2") {
			t.Errorf("after half of its life: %d %s", w.Code, w.Header().Get("ETag"))
		}
		v.set(func(v *vendor) { v.err = fault.New(fault.StoreVend, "down") })
		time.Sleep(2 * time.Hour)
		if w := direct(t, h, tablePath, etag, 0); w.Code != 503 {
			t.Errorf("a client whose credential has expired, and there is no other: %d", w.Code)
		}
	})
}

// TestVendedExpiry: over two days in which the STS fails now and then, no client is ever given a credential of less than two
// minutes, or of less than half its life while the STS answers, and nobody is asked more than need be.
func TestVendedExpiry(t *testing.T) {
	bubble(t, func(t *testing.T, h http.Handler, v *vendor) {
		failed := 0
		for minute := range 2 * 24 * 60 {
			down := minute%120 >= 40 && minute%120 < 110 // 70 minutes
			v.set(func(v *vendor) {
				if v.err = nil; down {
					v.err = fault.New(fault.StoreVend, "down")
				}
			})
			w := direct(t, h, tablePath+"/credentials", "", 0)
			if w.Code == 503 && down {
				failed++
			} else {
				left := time.Until(expiry(t, w))
				if left < 2*time.Minute || !down && left < 30*time.Minute {
					t.Fatalf("minute %d: down %v, it lasts %s", minute, down, left)
				}
			}
			time.Sleep(time.Minute)
		}
		if failed == 0 || failed > 24*60 {
			t.Errorf("%d of 2880 answers failed", failed)
		}
		t.Logf("%d failed, asked %d times", failed, v.count())
	})
}

func expiry(t *testing.T, w *httptest.ResponseRecorder) time.Time {
	t.Helper()
	var a struct {
		List []struct {
			Config struct {
				At int64 `json:"s3.session-token-expires-at-ms,string"`
			}
		} `json:"storage-credentials"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 || len(a.List) != 1 {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return time.UnixMilli(a.List[0].Config.At)
}

// TestVendedOnce: many who ask at once are one request, and it goes on if the one who began it leaves.
func TestVendedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, h http.Handler, v *vendor) {
		v.takes = 3 * time.Second
		codes := make([]int, 20)
		var wg sync.WaitGroup
		for i := range codes {
			leaves := time.Duration(0)
			if i < 2 {
				leaves = time.Second // the first, and one of those who wait
			}
			wg.Go(func() { codes[i] = direct(t, h, tablePath+"/credentials", "", leaves).Code })
			synctest.Wait()
		}
		wg.Wait()
		for i, code := range codes {
			if code != 200 && i != 1 {
				t.Errorf("request %d: %d", i, code)
			}
		}
		if codes[1] != 503 || v.count() != 1 {
			t.Errorf("who left is answered %d; asked %d times", codes[1], v.count())
		}
		// A failure is everybody's too, and the next who comes asks anew.
		v.set(func(v *vendor) { v.err = fault.New(fault.StoreVend, "down") })
		time.Sleep(time.Hour)
		for i := range codes {
			wg.Go(func() { codes[i] = direct(t, h, tablePath+"/credentials", "", 0).Code })
		}
		wg.Wait()
		if v.count() != 2 || codes[0] != 503 || codes[19] != 503 {
			t.Errorf("asked %d times, %v", v.count(), codes)
		}
		direct(t, h, tablePath+"/credentials", "", 0)
		if v.count() != 3 {
			t.Errorf("asked %d times", v.count())
		}
	})
}

// TestVendedNot: without a credential the answer is 503 with the code, never the store's own keys, and what is logged of it and of
// success is no secret.
func TestVendedNot(t *testing.T) {
	var log strings.Builder
	c, v := newVendingClient(t, &log)
	v.set(func(v *vendor) { v.err = fault.New(fault.StoreVend, "the STS is down: wake it") })
	for _, path := range []string{tablePath, tablePath + "/credentials"} {
		c.refused(c.do("GET", path, delegation, "vended-credentials"), 503, "ServiceUnavailableException", "TARN-0318: the STS is down: wake it")
	}
	if a := c.do("GET", tablePath, delegation, "vended-credentials", "If-None-Match", "*"); a.code != 503 {
		t.Errorf("If-None-Match: %d", a.code)
	}
	if a := c.do("GET", tablePath); a.code != 200 {
		t.Errorf("who has keys of its own: %d", a.code)
	}
	v.set(func(v *vendor) { v.err = nil })
	if a := c.do("GET", tablePath, delegation, "vended-credentials"); a.code != 200 {
		t.Errorf("%d %s", a.code, a.raw)
	}
	if text := log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "code=TARN-0318") {
		t.Error(text)
	}
}
