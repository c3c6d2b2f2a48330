package rest

import (
	"encoding/base64"
	"net/http"
	"sort"
	"strconv"
	"strings"
)

// separator stands between the levels of a namespace in a path.
const separator = "\x1f"

// pageSizeMax bounds one page of a list.
const pageSizeMax = 10_000

func noNamespace(name string) error {
	// In the words of Iceberg's own catalogs, which its compatibility kit compares.
	return notFound("NoSuchNamespaceException", "Namespace does not exist: %s", name)
}

// existing is the path's namespace, which must exist.
func (s *server) existing(req *request) (string, error) {
	if err := s.resolve(req); err != nil {
		return "", err
	}
	for _, vars := range req.readings() {
		if name := vars["namespace"]; req.cut.HasNamespace(name) {
			return name, nil
		}
	}
	return "", noNamespace(strings.ReplaceAll(req.vars["namespace"], separator, "."))
}

// page cuts a sorted list as the request's pageSize and pageToken say. A client that sends no pageToken does not page and
// gets everything, whatever pageSize says. The token is the last name of the page before, so that a list may change between pages.
func page(r *http.Request, names []string) (part []string, next string, err error) {
	q := r.URL.Query()
	if !q.Has("pageToken") {
		return names, "", nil
	}
	if token := q.Get("pageToken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", badRequest("pageToken is not one this catalog gave")
		}
		names = names[sort.Search(len(names), func(i int) bool { return names[i] > string(last) }):]
	}
	size := pageSizeMax
	if text := q.Get("pageSize"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, "", badRequest("pageSize %q is not a positive number", text)
		}
		size = min(n, pageSizeMax)
	}
	if len(names) <= size {
		return names, "", nil
	}
	names = names[:size]
	return names, base64.RawURLEncoding.EncodeToString([]byte(names[size-1])), nil
}

func (s *server) listNamespaces(w http.ResponseWriter, r *http.Request, req *request) error {
	if err := s.resolve(req); err != nil {
		return err
	}
	var names []string
	if parent := r.URL.Query().Get("parent"); parent != "" {
		// One level only: an existing namespace has no children.
		if strings.Contains(parent, separator) || !req.cut.HasNamespace(parent) {
			return noNamespace(strings.ReplaceAll(parent, separator, "."))
		}
	} else {
		names = req.cut.Namespaces()
	}
	names, next, err := page(r, names)
	if err != nil {
		return err
	}
	list := make([][]string, len(names))
	for i, n := range names {
		list[i] = []string{n}
	}
	return reply(w, r, struct {
		Namespaces [][]string `json:"namespaces"`
		Next       string     `json:"next-page-token,omitempty"`
	}{list, next})
}

func (s *server) loadNamespace(w http.ResponseWriter, r *http.Request, req *request) error {
	name, err := s.existing(req)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return reply(w, r, map[string]any{
		"namespace":  []string{name},
		"properties": map[string]string{"tarn.database": req.cut.Database, "tarn.lsn": req.cut.LSN.String()},
	})
}

func (s *server) listTables(w http.ResponseWriter, r *http.Request, req *request) error {
	namespace, err := s.existing(req)
	if err != nil {
		return err
	}
	return listIdentifiers(w, r, namespace, req.cut.Tables(namespace))
}

func listIdentifiers(w http.ResponseWriter, r *http.Request, namespace string, names []string) error {
	names, next, err := page(r, names)
	if err != nil {
		return err
	}
	type identifier struct {
		Namespace []string `json:"namespace"`
		Name      string   `json:"name"`
	}
	list := make([]identifier, len(names))
	for i, n := range names {
		list[i] = identifier{[]string{namespace}, n}
	}
	return reply(w, r, struct {
		Identifiers []identifier `json:"identifiers"`
		Next        string       `json:"next-page-token,omitempty"`
	}{list, next})
}

func (s *server) listViews(w http.ResponseWriter, r *http.Request, req *request) error {
	namespace, err := s.existing(req)
	if err != nil {
		return err
	}
	return listIdentifiers(w, r, namespace, nil)
}

func (s *server) noView(_ http.ResponseWriter, _ *http.Request, req *request) error {
	namespace, err := s.existing(req)
	if err != nil {
		return err
	}
	return notFound("NoSuchViewException", "view %s.%s does not exist: views of PostgreSQL are not in the lake", namespace, req.vars["view"])
}

// namespaceIsThere is existing, for a request that is refused if it is.
func (s *server) namespaceIsThere(_ *http.Request, req *request) error {
	_, err := s.existing(req)
	return err
}
