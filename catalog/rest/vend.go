package rest

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
)

// delegation is the header by which a client says how it wants to be let at the files.
const delegation = "X-Iceberg-Access-Delegation"

// wantsCredentials says whether a client asks for credentials to be vended.
func wantsCredentials(r *http.Request) bool {
	for _, h := range r.Header.Values(delegation) {
		for one := range strings.SplitSeq(h, ",") {
			if strings.EqualFold(strings.TrimSpace(one), "vended-credentials") {
				return true
			}
		}
	}
	return false
}

// Limits of the credentials kept.
const (
	vendedMax   = 4096             // tables; the least used is forgotten and asked for again
	vendedSpare = 2 * time.Minute  // what is left of one at least when it is given out although it should be a new one
	vendedRetry = 30 * time.Second // until a new one is asked for again, while the former still serves
)

// credentials keeps what the store has vended, one for each prefix.
//
// Invariant: none is given out past its expiry, and while the store gives new ones none past half of its life: a client
// that asks anew some minutes before the end, as Iceberg's do, gets another.
type credentials struct {
	vendor objstore.Vendor
	log    *slog.Logger

	mu  sync.Mutex
	lru *simplelru.LRU[string, *vended]
}

// vended is one prefix's credential.
type vended struct {
	objstore.Credential
	renew time.Time // from when on another is asked for; zero if there is none yet
	ask   *asking   // under way; nil if none is
}

// asking is one request to the vendor, for everybody who wants its answer.
type asking struct {
	done chan struct{} // closed once the rest is set
	c    objstore.Credential
	err  error
}

func newCredentials(vendor objstore.Vendor, log *slog.Logger) *credentials {
	lru, err := simplelru.NewLRU[string, *vended](vendedMax, nil)
	if err != nil {
		panic("BUG: rest: " + err.Error())
	}
	return &credentials{vendor: vendor, log: log, lru: lru}
}

// get is the credential for a prefix. The first who needs a new one asks for it, and goes on for the others if its own
// client leaves; the vendor's limit bounds that.
func (c *credentials) get(ctx context.Context, prefix string) (objstore.Credential, error) {
	c.mu.Lock()
	v, ok := c.lru.Get(prefix)
	if !ok {
		v = &vended{}
		c.lru.Add(prefix, v)
	}
	now := time.Now()
	if now.Before(v.renew) || v.ask != nil && v.serves(now) {
		defer c.mu.Unlock()
		return v.Credential, nil
	}
	if a := v.ask; a != nil {
		c.mu.Unlock()
		select {
		case <-a.done:
			return a.c, a.err
		case <-ctx.Done():
			return objstore.Credential{}, ctx.Err()
		}
	}
	a := &asking{done: make(chan struct{})}
	v.ask = a
	c.mu.Unlock()
	fresh, err := c.vendor.Vend(context.WithoutCancel(ctx), prefix)
	c.mu.Lock()
	defer c.mu.Unlock()
	a.c, a.err = v.renewed(fresh, err)
	v.ask = nil
	close(a.done)
	if err != nil {
		c.log.Error("no credential was vended", "prefix", prefix, "former_serves", a.err == nil, "error", err)
	}
	return a.c, a.err
}

// serves says whether the credential is still good enough to be given out.
func (v *vended) serves(now time.Time) bool { return v.Expires.Sub(now) > vendedSpare }

// renewed takes the vendor's answer.
func (v *vended) renewed(fresh objstore.Credential, err error) (objstore.Credential, error) {
	switch now := time.Now(); {
	case err == nil:
		v.Credential, v.renew = fresh, now.Add(fresh.Expires.Sub(now)/2)
	case v.serves(now):
		v.renew = now.Add(min(vendedRetry, v.Expires.Sub(now)-vendedSpare))
	default:
		return objstore.Credential{}, err
	}
	return v.Credential, nil
}

// credential is the one for a table's files. That there is none is no definite answer: the client asks again.
func (s *server) credential(ctx context.Context, t catalog.TableVersion) (objstore.Credential, error) {
	c, err := s.vended.get(ctx, t.ID.Root()+"/")
	if err != nil && ctx.Err() == nil {
		code := fault.CodeOf(err)
		return c, &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", code.String() + ": " + err.Error()}
	}
	return c, err
}

// delegated is the credential for a client that wants one with a table.
func (s *server) delegated(w http.ResponseWriter, r *http.Request, t catalog.TableVersion) (c objstore.Credential, vends bool, err error) {
	if s.vended == nil {
		return c, false, nil
	}
	w.Header().Add("Vary", delegation)
	if !wantsCredentials(r) {
		return c, false, nil
	}
	w.Header().Set("Cache-Control", "private")
	c, err = s.credential(r.Context(), t)
	return c, true, err
}

// credentialConfig is a credential as Iceberg's file IO takes it (S3FileIOProperties).
func credentialConfig(c objstore.Credential) map[string]string {
	return map[string]string{
		"s3.access-key-id": c.AccessKeyID, "s3.secret-access-key": c.SecretAccessKey, "s3.session-token": c.SessionToken,
		"s3.session-token-expires-at-ms": strconv.FormatInt(c.Expires.UnixMilli(), 10),
	}
}

// storageCredential is one for the files of a table.
type storageCredential struct {
	Prefix string            `json:"prefix"`
	Config map[string]string `json:"config"`
}

func (s *server) storageCredentials(t catalog.TableVersion, c objstore.Credential) []storageCredential {
	return []storageCredential{{s.opts.View.Store().URL(t.ID.Root() + "/"), credentialConfig(c)}}
}

// refreshPath is where Java clients ask for the next one, relative to the catalog's URI (AwsClientProperties).
func refreshPath(req *request, t catalog.TableVersion) string {
	return "v1/" + encodePrefix(req.warehouse) + "/namespaces/" + url.PathEscape(t.Name.Namespace) + "/tables/" + url.PathEscape(t.Name.Name) + "/credentials"
}

// loadCredentials answers a client whose credential comes to its end.
func (s *server) loadCredentials(w http.ResponseWriter, r *http.Request, req *request) error {
	t, err := s.find(req)
	if err != nil {
		return err
	}
	c, err := s.credential(r.Context(), t)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return reply(w, r, map[string]any{"storage-credentials": s.storageCredentials(t, c)})
}
