package rest

import (
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/tarn-db/tarn/catalog"
)

// route is one endpoint. Its template is written as the specification does; segments in braces match any one segment.
type route struct {
	method   string
	template string
	listed   bool // in the config answer's endpoints
	vends    bool // there only with a Vendor
	handle   func(w http.ResponseWriter, r *http.Request, req *request) error
	// refuses says what a writing endpoint would do: it is answered 403, after looks, if there is one, has found what the request is about.
	refuses string
	looks   func(r *http.Request, req *request) error
	// answers are every status it gives, with the type of error, beside those that any request may get.
	answers []string
}

// Endpoint describes one for the documentation.
type Endpoint struct {
	Name    string   // as the config answer lists it
	Listed  bool     // the config answer lists it
	Vends   bool     // it is there only where credentials are vended
	Answers []string // status, and for errors the type
}

// Endpoints are all that New's handler serves with a Vendor.
func Endpoints() []Endpoint {
	var list []Endpoint
	for _, rt := range new(server).table() {
		list = append(list, Endpoint{rt.name(), rt.listed, rt.vends, rt.answers})
	}
	return list
}

// What endpoints answer.
const (
	badParameter = "400 BadRequestException"
	noWarehouse  = "404 NoSuchWarehouseException"
	noSchema     = "404 NoSuchNamespaceException"
	noTable      = "404 NoSuchTableException"
	noSuchView   = "404 NoSuchViewException"
	refused      = "403 ForbiddenException"
)

func (rt *route) name() string { return rt.method + " " + rt.template }

// request is what a path said.
type request struct {
	warehouse string
	cut       catalog.Cut
	vars      map[string]string
	// spaces are vars with '+' read as a blank, nil if none has one: Iceberg's Java client writes blanks so
	// (URLEncoder), others mean a plus sign. What exists decides.
	spaces map[string]string
}

// readings are what the path may have meant, the literal one first. DuckDB takes the namespace "a.b", which has one level
// as all of ours, for two and joins them with the separator.
func (req *request) readings() []map[string]string {
	list := []map[string]string{req.vars}
	if req.spaces != nil {
		list = append(list, req.spaces)
	}
	for _, vars := range list {
		if name := vars["namespace"]; strings.Contains(name, separator) {
			joined := maps.Clone(vars)
			joined["namespace"] = strings.ReplaceAll(name, separator, ".")
			list = append(list, joined)
		}
	}
	return list
}

// table lists the endpoints. The config answer names those marked as listed, so it is complete and true by construction.
func (s *server) table() []route {
	read := func(method, template string, h func(http.ResponseWriter, *http.Request, *request) error, answers ...string) route {
		return route{method: method, template: template, listed: true, handle: h, answers: append(answers, noWarehouse)}
	}
	refuse := func(method, template, what string) route {
		return route{method: method, template: template, listed: true, refuses: what, answers: []string{refused}}
	}
	looking := func(rt route, looks func(*http.Request, *request) error, answers ...string) route {
		rt.looks, rt.answers = looks, append(rt.answers, answers...)
		return rt
	}
	// unlisted endpoints are for clients that ask without looking at the list.
	unlisted := func(rt route) route {
		rt.listed = false
		return rt
	}
	vending := func(rt route) route {
		rt.vends = true
		return rt
	}
	const (
		namespaces = "/v1/{prefix}/namespaces"
		namespace  = namespaces + "/{namespace}"
		tables     = namespace + "/tables"
		table      = tables + "/{table}"
		views      = namespace + "/views"
	)
	return []route{
		unlisted(read(http.MethodGet, "/v1/config", s.config, "200", badParameter)),
		unlisted(route{method: http.MethodPost, template: tokensPath, handle: s.noTokens, answers: []string{"400 unsupported_grant_type"}}),
		read(http.MethodGet, namespaces, s.listNamespaces, "200", badParameter, noSchema),
		read(http.MethodGet, namespace, s.loadNamespace, "200", noSchema),
		read(http.MethodHead, namespace, s.loadNamespace, "204", noSchema),
		read(http.MethodGet, tables, s.listTables, "200", badParameter, noSchema),
		read(http.MethodGet, table, s.loadTable, "200", "304", badParameter, noTable),
		read(http.MethodHead, table, s.headTable, "204", noTable),
		vending(read(http.MethodGet, table+"/credentials", s.loadCredentials, "200", noTable)),
		read(http.MethodPost, table+"/metrics", s.metrics, "204", badParameter, noTable),
		refuse(http.MethodPost, namespaces, "create namespaces"),
		refuse(http.MethodDelete, namespace, "drop namespaces"),
		looking(refuse(http.MethodPost, namespace+"/properties", "change namespaces"), s.namespaceIsThere, noSchema, noWarehouse),
		refuse(http.MethodPost, tables, "create tables"),
		refuse(http.MethodPost, table, "take commits to its tables"),
		refuse(http.MethodDelete, table, "drop tables"),
		refuse(http.MethodPost, namespace+"/register", "register tables"),
		looking(refuse(http.MethodPost, "/v1/{prefix}/tables/rename", "rename tables"), s.sourceIsThere, badParameter, noTable, noWarehouse),
		refuse(http.MethodPost, "/v1/{prefix}/transactions/commit", "take commits to its tables"),
		// Listing views would cost engines one more request per table.
		unlisted(read(http.MethodGet, views, s.listViews, "200", badParameter, noSchema)),
		unlisted(refuse(http.MethodPost, views, "create views")),
		unlisted(read(http.MethodGet, views+"/{view}", s.noView, noSuchView, noSchema)),
		unlisted(read(http.MethodHead, views+"/{view}", s.noView, noSuchView, noSchema)),
		unlisted(refuse(http.MethodPost, views+"/{view}", "change views")),
		unlisted(refuse(http.MethodDelete, views+"/{view}", "drop views")),
		unlisted(refuse(http.MethodPost, "/v1/{prefix}/views/rename", "rename views")),
	}
}

func (s *server) endpoints() []string {
	var list []string
	for i := range s.routes {
		if s.routes[i].listed {
			list = append(list, s.routes[i].name())
		}
	}
	return list
}

// match finds the endpoint of a request. Paths are split before they are unescaped: names may hold any character.
func (s *server) match(r *http.Request) (*route, *request, error) {
	path := r.URL.EscapedPath()
	segments := strings.Split(strings.Trim(path, "/"), "/")
	spaced, plus := make([]string, len(segments)), false
	for i, seg := range segments {
		plain, err := url.PathUnescape(seg)
		if err != nil {
			return nil, nil, badRequest("path %q is not escaped properly", path)
		}
		spaced[i], _ = url.QueryUnescape(seg) // fails where PathUnescape does
		segments[i], plus = plain, plus || plain != spaced[i]
	}
	var allowed []string
	for i := range s.routes {
		rt := &s.routes[i]
		vars, ok := matchTemplate(rt.template, segments)
		if !ok {
			continue
		}
		if rt.method == r.Method {
			req := &request{vars: vars}
			if plus {
				req.spaces, _ = matchTemplate(rt.template, spaced)
			}
			return rt, req, nil
		}
		allowed = append(allowed, rt.method)
	}
	if len(allowed) > 0 {
		return nil, nil, &apiError{http.StatusMethodNotAllowed, "MethodNotAllowedException", r.Method + " is not possible on " + path + "; possible: " + strings.Join(allowed, ", ")}
	}
	return nil, nil, notFound("NotFoundException", "%s is not part of this Iceberg REST catalog; its root is /v1/config?warehouse=DATABASE", path)
}

func matchTemplate(template string, segments []string) (map[string]string, bool) {
	parts := strings.Split(strings.TrimPrefix(template, "/"), "/")
	if len(parts) != len(segments) {
		return nil, false
	}
	vars := map[string]string{}
	for i, p := range parts {
		switch {
		case p[0] == '{':
			vars[p[1:len(p)-1]] = segments[i]
		case p != segments[i]:
			return nil, false
		}
	}
	return vars, true
}

// serve resolves the warehouse and calls the endpoint.
func (rt *route) serve(w http.ResponseWriter, r *http.Request, req *request) error {
	if rt.looks != nil {
		if err := rt.looks(r, req); err != nil {
			return err
		}
	}
	if rt.refuses != "" {
		return forbidden(rt.refuses)
	}
	return rt.handle(w, r, req)
}
