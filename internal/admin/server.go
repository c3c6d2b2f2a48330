package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

const (
	// WaitMax is the longest a single wait request is held; a client that wants longer asks again.
	WaitMax = 10 * time.Minute
	// waitDefault is the wait without a timeout parameter.
	waitDefault = 30 * time.Second
	// bodyBytesMax bounds request bodies.
	bodyBytesMax = 1 << 16
	// bodyTimeout is how long a request's body may take.
	bodyTimeout = 10 * time.Second
	// headerBytesMax bounds request headers.
	headerBytesMax = 64 << 10
	// drain is how long Serve lets running requests finish.
	drain = 2 * time.Second
)

// Options are what a Server needs. All but Version and Allow are required.
type Options struct {
	Source    Source
	Freshness *FreshnessTracker
	Version   string
	Logger    *slog.Logger
	// Allow says whether a request may see more than whether the server lives and is ready. nil lets everyone.
	Allow func(*http.Request) bool
}

// Server answers on http.listen.
type Server struct {
	source   Source
	log      *slog.Logger
	allow    func(*http.Request) bool
	handler  http.Handler
	registry *prometheus.Registry
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{source: o.Source, log: o.Logger, allow: o.Allow, registry: newRegistry(o)}
	if s.allow == nil {
		s.allow = func(*http.Request) bool { return true }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("GET /api/v1/tables", s.tables)
	mux.HandleFunc("GET /api/v1/publications", s.publications)
	mux.HandleFunc("GET /api/v1/wait", s.wait)
	mux.HandleFunc("POST /api/v1/resync", s.resync)
	mux.HandleFunc("GET /api/v1/branches", s.branches)
	mux.HandleFunc("POST /api/v1/branches", s.createBranch)
	mux.HandleFunc("DELETE /api/v1/branches/{name}", s.deleteBranch)
	s.handler = mux
	return s
}

// Registerer takes the metrics of other parts of the server, which GET /metrics then shows too.
func (s *Server) Registerer() prometheus.Registerer { return s.registry }

// open are the paths that need no token: whoever probes for life has none.
var open = map[string]bool{"/healthz": true, "/readyz": true}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !open[r.URL.Path] && !s.allow(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="tarn"`)
		fail(w, http.StatusUnauthorized, fault.TokenNeeded, "a token is needed: send one of http.tokens_file as Authorization: Bearer TOKEN (tarn's own verbs: --config FILE, or TARN_HTTP_TOKEN)")
		return
	}
	s.handler.ServeHTTP(w, r)
}

// Serve answers on l until the context ends; then it ends held waits, lets the rest finish and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      WaitMax + time.Minute, // a wait is answered late
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fault.Errorf(fault.PortUnusable, "http on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		srv.Close()
	}
	<-done
	return nil
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz tells reasons, which may name hosts and tables, only to those who may see the status.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ready, reasons := s.source.Ready()
	if !s.allow(r) {
		reasons = nil
	}
	code := http.StatusOK
	if !ready {
		code = http.StatusServiceUnavailable
	}
	reply(w, code, readiness{Ready: ready, Reasons: notNil(reasons)})
}

type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	st := s.source.Status()
	st.Tables = notNil(st.Tables)
	reply(w, http.StatusOK, st)
}

func (s *Server) tables(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string][]Table{"tables": notNil(s.source.Status().Tables)})
}

func (s *Server) publications(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string][]PublicationInfo{"publications": notNil(s.source.Publications())})
}

// WaitResult is the answer to a wait: 200 when reached, 504 when the time ran out, 503 when the stage stopped.
type WaitResult struct {
	For     Stage  `json:"for"`
	LSN     pg.LSN `json:"lsn"`     // asked for
	Reached pg.LSN `json:"reached"` // where the stage is now
	Error   string `json:"error,omitempty"`
	Code    string `json:"code,omitempty"` // of Error, such as TARN-0704
}

func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	lsn, err := pg.ParseLSN(q.Get("lsn"))
	if err != nil {
		fail(w, http.StatusBadRequest, fault.RequestBad, "parameter lsn: "+err.Error())
		return
	}
	stage := StagePublished
	if v := q.Get("for"); v != "" {
		stage = Stage(v)
	}
	if !slices.Contains(Stages, stage) {
		fail(w, http.StatusBadRequest, fault.RequestBad, fmt.Sprintf("parameter for: %q is none of %v", stage, Stages))
		return
	}
	timeout := waitDefault
	if v := q.Get("timeout"); v != "" {
		if timeout, err = time.ParseDuration(v); err != nil || timeout < 0 {
			fail(w, http.StatusBadRequest, fault.RequestBad, fmt.Sprintf("parameter timeout: %q is no duration such as 30s", v))
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(timeout, WaitMax))
	defer cancel()
	err = s.source.WaitFor(ctx, stage, lsn)
	st := s.source.Status()
	res := WaitResult{For: stage, LSN: lsn, Reached: st.At(stage)}
	switch {
	case err == nil:
		reply(w, http.StatusOK, res)
	case errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil:
		res.Error = fmt.Sprintf("timed out waiting for %s LSN %s, it is at %s", stage, lsn, res.Reached)
		res.Code = fault.WaitTimeout.String()
		reply(w, http.StatusGatewayTimeout, res)
	case errors.Is(err, context.Canceled):
		res.Error, res.Code = "the server is stopping", fault.ServerStopped.String()
		reply(w, http.StatusServiceUnavailable, res)
	default:
		res.Error, res.Code = err.Error(), fault.CodeOf(fault.Or(fault.ServerStopped, err)).String()
		reply(w, http.StatusServiceUnavailable, res)
	}
}

type resyncRequest struct {
	Table string `json:"table"`
	All   bool   `json:"all"`
}

func (s *Server) resync(w http.ResponseWriter, r *http.Request) {
	if !jsonSent(w, r) {
		return
	}
	var req resyncRequest
	if err := decode(w, r, &req); err != nil || (req.Table == "") == !req.All {
		fail(w, http.StatusBadRequest, fault.RequestBad, `send {"table":"database.schema.table"} or {"all":true}`)
		return
	}
	switch err := s.source.Resync(r.Context(), req.Table, req.All); {
	case err == nil:
		s.log.Info("resync requested", "table", req.Table, "all", req.All)
		reply(w, http.StatusAccepted, map[string]string{"status": "accepted"})
	case errors.Is(err, ErrUnknownTable):
		fail(w, http.StatusNotFound, fault.CodeOf(err), err.Error())
	case errors.Is(err, ErrRefused):
		fail(w, http.StatusConflict, fault.CodeOf(err), err.Error())
	default:
		fail(w, http.StatusInternalServerError, fault.CodeOf(err), err.Error())
	}
}

// jsonSent refuses what is not sent as JSON: a web page may post forms and plain text anywhere without being asked; JSON it may not.
func jsonSent(w http.ResponseWriter, r *http.Request) bool {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, fault.RequestBad, "send Content-Type: application/json")
		return false
	}
	return true
}

// decode reads a request's body.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	// An error means the connection knows no deadlines, as in a test's recorder.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func fail(w http.ResponseWriter, status int, code fault.Code, message string) {
	reply(w, status, map[string]string{"error": message, "code": code.String()})
}

func reply(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: admin: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write(append(b, '\n'))
}

// notNil makes an empty list print as [] and not as null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
