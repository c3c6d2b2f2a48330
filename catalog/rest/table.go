package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/objstore"
)

func (s *server) find(req *request) (catalog.TableVersion, error) {
	if err := s.resolve(req); err != nil {
		return catalog.TableVersion{}, err
	}
	for _, vars := range req.readings() {
		if t, ok := req.cut.Table(vars["namespace"], vars["table"]); ok {
			return t, nil
		}
	}
	namespace, name := req.vars["namespace"], req.vars["table"]
	// Also for a namespace that does not exist, as the specification has it.
	return catalog.TableVersion{}, notFound("NoSuchTableException", "Table does not exist: %s.%s (in database %s at LSN %s)", strings.ReplaceAll(namespace, separator, "."), name, req.cut.Database, req.cut.LSN)
}

func (s *server) headTable(w http.ResponseWriter, _ *http.Request, req *request) error {
	if _, err := s.find(req); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) loadTable(w http.ResponseWriter, r *http.Request, req *request) error {
	t, err := s.find(req)
	if err != nil {
		return err
	}
	mode := r.URL.Query().Get("snapshots")
	switch mode {
	case "":
		mode = "all"
	case "all", "refs":
	default:
		return badRequest("snapshots=%q: want all or refs", mode)
	}
	// Before anything is said of a former answer: a client that is told to go on with that goes on with its credential.
	c, vends, err := s.delegated(w, r, t)
	if err != nil {
		return err
	}
	etag := s.etag(t, mode, c)
	w.Header().Set("ETag", etag)
	// The form that the client has says nothing about the one it would get now, and both stand for the same content.
	if etagMatches(r.Header.Values("If-None-Match"), etag, gzipETag(etag)) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	metadata, err := s.opts.View.Metadata(r.Context(), t)
	if errors.Is(err, objstore.ErrNotFound) {
		// The publication left the history while it was asked for.
		return notFound("NoSuchTableException", "table %s at LSN %s is no longer kept", t.Name, t.LSN)
	}
	if err != nil {
		return err
	}
	if mode == "refs" {
		if metadata, err = onlyReferenced(metadata); err != nil {
			return err
		}
	}
	config := s.tableConfig()
	result := map[string]any{"metadata-location": t.URL, "metadata": json.RawMessage(metadata), "config": config}
	if vends {
		maps.Copy(config, credentialConfig(c)) // too: not every client reads storage-credentials
		config["client.refresh-credentials-endpoint"] = refreshPath(req, t)
		result["storage-credentials"] = s.storageCredentials(t, c)
	}
	return reply(w, r, result)
}

func (s *server) tableConfig() map[string]string {
	config := maps.Clone(s.opts.TableConfig)
	if config == nil {
		config = map[string]string{}
	}
	return config
}

// etag is distinct for each metadata file, value of snapshots, configuration of the store and credential: each has a body of
// its own.
func (s *server) etag(t catalog.TableVersion, mode string, c objstore.Credential) string {
	sum := sha256.Sum256([]byte(t.Key + "\x00" + mode + "\x00" + s.configText + "\x00" + c.String()))
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

func etagMatches(headers []string, etags ...string) bool {
	for _, h := range headers {
		for _, one := range strings.Split(h, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			if one == "*" || slices.Contains(etags, one) {
				return true
			}
		}
	}
	return false
}

// onlyReferenced leaves in a table's metadata the snapshots that a branch or tag names.
func onlyReferenced(metadata []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	var some struct {
		Refs map[string]struct {
			SnapshotID int64 `json:"snapshot-id"`
		} `json:"refs"`
		Snapshots []json.RawMessage `json:"snapshots"`
	}
	if err := errors.Join(json.Unmarshal(metadata, &all), json.Unmarshal(metadata, &some)); err != nil {
		return nil, err
	}
	wanted := map[int64]bool{}
	for _, r := range some.Refs {
		wanted[r.SnapshotID] = true
	}
	kept := []json.RawMessage{}
	for _, raw := range some.Snapshots {
		var snap struct {
			ID int64 `json:"snapshot-id"`
		}
		if err := json.Unmarshal(raw, &snap); err != nil {
			return nil, err
		}
		if wanted[snap.ID] {
			kept = append(kept, raw)
		}
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	all["snapshots"] = b
	return json.Marshal(all)
}

// metrics takes an engine's report of a scan. It is counted with the requests and not kept.
func (s *server) metrics(w http.ResponseWriter, r *http.Request, req *request) error {
	if _, err := s.find(req); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return badRequest("metrics report: %s", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// renameMax bounds the body of a request to rename, bytes.
const renameMax = 64 << 10

// sourceIsThere looks for the table that a request wants renamed (RenameTableRequest).
func (s *server) sourceIsThere(r *http.Request, req *request) error {
	var body struct {
		Source struct {
			Namespace []string `json:"namespace"`
			Name      string   `json:"name"`
		} `json:"source"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, renameMax)).Decode(&body); err != nil {
		return badRequest("no request to rename a table: %s", err)
	}
	req.vars["namespace"], req.vars["table"] = strings.Join(body.Source.Namespace, separator), body.Source.Name
	_, err := s.find(req)
	return err
}
