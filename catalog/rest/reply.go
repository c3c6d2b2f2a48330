package rest

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// gzipBytesMin is what fits into one packet anyway.
const gzipBytesMin = 1400

// gzipWriters keep their tables of some hundred kilobytes. The fastest level: metadata repeats itself a lot, and an engine
// waits for the answer.
var gzipWriters = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("BUG: rest: " + err.Error())
	}
	return w
}}

// reply answers 200 with JSON, compressed if the client takes that and there is enough to gain.
func reply(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Add("Vary", "Accept-Encoding")
	if len(b) < gzipBytesMin || !takesGzip(r) {
		h.Set("Content-Length", strconv.Itoa(len(b)))
		// The client may be gone: the answer has begun, no other can follow. So below.
		_, _ = w.Write(b)
		return nil
	}
	if etag := h.Get("ETag"); etag != "" {
		h.Set("ETag", gzipETag(etag))
	}
	h.Set("Content-Encoding", "gzip")
	z := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(z)
	z.Reset(w)
	_, _ = z.Write(b)
	_ = z.Close()
	return nil
}

// gzipETag names the compressed form of what etag names: a strong ETag stands for the very bytes.
func gzipETag(etag string) string { return strings.TrimSuffix(etag, `"`) + `-gzip"` }

// takesGzip reads Accept-Encoding as far as clients use it: gzip is named, and not with q=0.
func takesGzip(r *http.Request) bool {
	for _, h := range r.Header.Values("Accept-Encoding") {
		for one := range strings.SplitSeq(h, ",") {
			coding, params, _ := strings.Cut(one, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			if weight, err := strconv.ParseFloat(q, 64); !found || err == nil && weight > 0 {
				return true
			}
		}
	}
	return false
}
