package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
)

// icebergTable is what an engine is told of a table, as far as DDL is seen in it.
type icebergTable struct {
	UUID      string `json:"table-uuid"`
	SchemaID  int    `json:"current-schema-id"`
	LastID    int    `json:"last-column-id"`
	Snapshots []struct {
		ID      int64             `json:"snapshot-id"`
		Summary map[string]string `json:"summary"`
	} `json:"snapshots"`
	Schemas []struct {
		ID     int `json:"schema-id"`
		Fields []struct {
			ID   int             `json:"id"`
			Name string          `json:"name"`
			Type json.RawMessage `json:"type"`
		} `json:"fields"`
	} `json:"schemas"`
	Properties map[string]string `json:"properties"`
}

// fields are the current columns: name to field id.
func (t *icebergTable) fields() map[string]int {
	ids := map[string]int{}
	for _, s := range t.Schemas {
		if s.ID == t.SchemaID {
			for _, f := range s.Fields {
				ids[f.Name] = f.ID
			}
		}
	}
	return ids
}

// operations are those of the snapshots that t has and before has not, each once, in order of name.
func (t *icebergTable) operations(before *icebergTable) string {
	known, ops := map[int64]bool{}, map[string]bool{}
	if before != nil {
		for _, s := range before.Snapshots {
			known[s.ID] = true
		}
	}
	for _, s := range t.Snapshots {
		if !known[s.ID] {
			ops[s.Summary["operation"]] = true
		}
	}
	var names []string
	for op := range ops {
		names = append(names, op)
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

// iceberg asks the catalog for a table ("namespace.name") of database app; nil if there is none.
func (r *rig) iceberg(table string) *icebergTable {
	r.t.Helper()
	namespace, name, _ := strings.Cut(table, ".")
	resp, err := http.Get(r.tarn.catalogURL() + "/v1/" + database + "/namespaces/" + url.PathEscape(namespace) + "/tables/" + url.PathEscape(name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil
	}
	var loaded struct {
		Metadata icebergTable `json:"metadata"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&loaded); err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("table %s: %s, %v", table, resp.Status, err)
	}
	return &loaded.Metadata
}

// problems compares what became of a table with what the step says should have.
func (s *ddlStep) problems(before, after *icebergTable) (out []string) {
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case s.table == "gone":
		if after != nil {
			say("it is still in the lake")
		}
		return out
	case after == nil:
		return []string{"it is not in the lake"}
	case before != nil && s.table == "new" && after.UUID == before.UUID:
		say("it should be another table and has the UUID of the one before")
	case before != nil && s.table == "" && after.UUID != before.UUID:
		say("it should be the same table and has another UUID")
	}
	if before == nil || s.table == "new" {
		before = &icebergTable{}
	}
	if ops := after.operations(before); s.ops != "*" && ops != s.ops {
		say("its new snapshots are %q, want %q", ops, s.ops)
	}
	had, have := before.fields(), after.fields()
	for _, word := range strings.Fields(s.ids) {
		name, from, _ := strings.Cut(word, "=")
		id, there := have[name]
		switch {
		case !there:
			say("it has no column %s", name)
		case from == "new" && (id <= before.LastID || slices.Contains(ids(had), id)):
			say("column %s should have a new field id and has %d; the last before was %d", name, id, before.LastID)
		case from != "new" && id != had[from]:
			say("column %s should have the field id of %s, %d, and has %d", name, from, had[from], id)
		}
	}
	return out
}

func ids(fields map[string]int) (ids []int) {
	for _, id := range fields {
		ids = append(ids, id)
	}
	return ids
}
