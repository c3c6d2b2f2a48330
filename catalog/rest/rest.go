// Package rest serves the catalog to engines as an Iceberg REST catalog (Iceberg's rest-catalog-open-api.yaml). It reads
// the catalog's view alone and writes nothing: the tables come from Postgres, and what would change them is refused with
// 403 and the reason.
//
// A warehouse is a database: "app" is the newest publication, "app@0/1A2B3C4D" every table of it at that LSN. A schema is
// a namespace, of one level.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/objstore"
)

// Options configure a handler. Only View is required.
type Options struct {
	View   catalog.View
	Logger *slog.Logger
	// TableConfig is sent with every table and as defaults of every warehouse: what engines need to read the store, such
	// as client.region, s3.endpoint, s3.path-style-access. Empty for a directory store.
	TableConfig map[string]string
	// Vendor gives the credentials that clients are handed with a table, if they ask for some; nil hands none out. It takes
	// Allow.
	Vendor objstore.Vendor
	// Allow says whether a request may ask anything; the answer to others is 401. nil lets everyone.
	Allow func(*http.Request) bool
	// Registerer takes the counters; nil counts nothing.
	Registerer prometheus.Registerer
	// InFlightMax bounds requests served at once; more are answered 503 at once. Default 256.
	InFlightMax int
	// Timeout bounds one request. Default 30 s.
	Timeout time.Duration
}

// bodyBytesMax bounds request bodies.
const bodyBytesMax = 1 << 20

type server struct {
	opts       Options
	configText string // TableConfig, for ETags
	routes     []route
	vended     *credentials // nil without a Vendor
	slots      chan struct{}
	requests   *prometheus.CounterVec
	seconds    prometheus.Histogram
}

// New returns the catalog's handler.
func New(opts Options) (http.Handler, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.InFlightMax <= 0 {
		opts.InFlightMax = 256
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 30 * time.Second
	}
	if opts.Vendor != nil && opts.Allow == nil {
		return nil, errors.New("rest: credentials would be handed out to whoever asks")
	}
	text, err := json.Marshal(opts.TableConfig)
	if err != nil {
		return nil, err
	}
	s := &server{opts: opts, configText: string(text), slots: make(chan struct{}, opts.InFlightMax)}
	s.routes = s.table()
	if opts.Vendor != nil {
		s.vended = newCredentials(opts.Vendor, opts.Logger)
	} else {
		s.routes = slices.DeleteFunc(s.routes, func(rt route) bool { return rt.vends })
	}
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tarn_catalog_requests_total", Help: "Requests to the Iceberg REST catalog.",
	}, []string{"endpoint", "code"})
	s.seconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "tarn_catalog_request_seconds", Help: "Time to answer a request to the Iceberg REST catalog.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	})
	if opts.Registerer != nil {
		if err := errors.Join(opts.Registerer.Register(s.requests), opts.Registerer.Register(s.seconds)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// NewServer is an http.Server around h with limits on slow and oversized requests.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
}

// ServeHTTP answers one request. Every answer that is not 2xx or 304 is an Iceberg error model.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rec := &recorder{ResponseWriter: w, code: http.StatusOK}
	name := s.serve(rec, r)
	took := time.Since(start)
	label := http.StatusText(rec.code)
	if label == "" {
		label = "other"
	}
	s.requests.WithLabelValues(name, label).Inc()
	s.seconds.Observe(took.Seconds())
	s.opts.Logger.Debug("catalog request", "method", r.Method, "path", r.URL.EscapedPath(), "query", r.URL.RawQuery,
		"status", rec.code, "bytes", rec.bytes, "took", took, "agent", r.UserAgent())
}

// serve returns the endpoint's name.
func (s *server) serve(w http.ResponseWriter, r *http.Request) string {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		s.fail(w, r, &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", "too many requests at once; try again"})
		return "overload"
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.opts.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
	if s.opts.Allow != nil && r.URL.Path != tokensPath && !s.opts.Allow(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="tarn"`)
		s.fail(w, r, &apiError{http.StatusUnauthorized, "NotAuthorizedException", "a token is needed: set token=... in the client, or send Authorization: Bearer TOKEN, with one of the catalog's tokens_file"})
		return "unauthorized"
	}
	rt, req, err := s.match(r)
	if err != nil {
		s.fail(w, r, err)
		return "unknown"
	}
	if err := rt.serve(w, r, req); err != nil {
		s.fail(w, r, err)
	}
	return rt.name()
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	code  int
	bytes int64
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// Write notes the length.
func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}
