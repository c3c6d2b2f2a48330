package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/tarn-db/tarn/catalog"
)

// apiError is an answer that refuses. kind is the exception's name as Iceberg's Java client knows it.
type apiError struct {
	code    int
	kind    string
	message string
}

func (e *apiError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, "BadRequestException", fmt.Sprintf(format, args...)}
}

func notFound(kind, format string, args ...any) error {
	return &apiError{http.StatusNotFound, kind, fmt.Sprintf(format, args...)}
}

// forbidden refuses what would change the lake.
func forbidden(what string) error {
	return &apiError{http.StatusForbidden, "ForbiddenException", "tarn derives this catalog from PostgreSQL and does not " + what +
		": make the change in PostgreSQL, and it appears here with the next publication"}
}

// tokensPath is where clients that were given a credential ask for a token. The specification deprecates it for removal.
const tokensPath = "/v1/oauth/tokens"

// errNoTokens answers there. Clients read OAuth's own error model at this path, and show its description.
var errNoTokens = errors.New("this catalog issues no tokens: give the client a token, not a credential (Java, Spark, PyIceberg: token=...; " +
	"DuckDB: TOKEN in its secret), or none if the catalog asks for none (DuckDB: AUTHORIZATION_TYPE 'none')")

func (s *server) noTokens(http.ResponseWriter, *http.Request, *request) error { return errNoTokens }

// warehouseError explains why a warehouse cannot be served.
func warehouseError(name string, err error) error {
	var ahead *catalog.AheadError
	var expired *catalog.ExpiredError
	var notReady *catalog.NotReadyError
	switch {
	case errors.As(err, &notReady):
		return &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", fmt.Sprintf("warehouse %q: %s", name, err)}
	case errors.Is(err, catalog.ErrNoBranch):
		return notFound("NoSuchWarehouseException", "warehouse %q: there is no such branch, nor a database of that name in the lake: `tarn branch list` shows the branches; at an LSN, it is written database@X/Y", name)
	case errors.Is(err, catalog.ErrNoDatabase):
		return notFound("NoSuchWarehouseException", "warehouse %q: no table of that database is in the lake: a warehouse is named after a database that has published tables, or database@LSN", name)
	case errors.As(err, &ahead), errors.As(err, &expired):
		return notFound("NoSuchWarehouseException", "warehouse %q: %s", name, err)
	}
	return err
}

// fail writes err as Iceberg's error model. Only what is not a definite refusal is a 5xx.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var api *apiError
	if errors.Is(err, errNoTokens) {
		answer(w, r, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type", "error_description": err.Error()})
		return
	}
	if !errors.As(err, &api) {
		s.opts.Logger.Error("catalog request failed", "method", r.Method, "path", r.URL.EscapedPath(), "error", err)
		api = &apiError{http.StatusInternalServerError, "InternalServerError", err.Error()}
		if r.Context().Err() != nil {
			api = &apiError{http.StatusServiceUnavailable, "ServiceUnavailableException", "the store did not answer in time; try again"}
		}
	}
	answer(w, r, api.code, map[string]any{"error": map[string]any{"message": api.message, "type": api.kind, "code": api.code}})
}

func answer(w http.ResponseWriter, r *http.Request, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if r.Method == http.MethodHead {
		return
	}
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(v)
}
