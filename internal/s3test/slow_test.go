package s3test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
)

// slow opens a store of a service that does its part in pieces, with pauses between them. The limits are short.
func slow(t *testing.T, timeout time.Duration, serve http.HandlerFunc) *objstore.S3 {
	t.Helper()
	srv := httptest.NewUnstartedServer(serve)
	srv.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if tcp, ok := c.(*net.TCPConn); ok && state == http.StateNew {
			_ = tcp.SetReadBuffer(64 << 10) // or the kernel would take a small object in at once
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	s, err := objstore.OpenS3(context.Background(), "lake", "", objstore.S3Options{
		Endpoint: srv.URL, AccessKeyID: "a", SecretAccessKey: "b", Stall: 2500 * time.Millisecond, Timeout: timeout, MaxAttempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestSlowUpload: a connection on which bytes move is not one that stands still, however long it takes.
func TestSlowUpload(t *testing.T) {
	s := slow(t, 2*time.Second, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.CopyN(io.Discard, r.Body, 1<<20); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		w.Header().Set("ETag", `"x"`)
	})
	if _, err := s.PutIfAbsent(context.Background(), "large", make([]byte, 32<<20)); err != nil {
		t.Error(err)
	}
}

// TestUsedAgain: a request has its time for an answer, however long its connection was idle before.
func TestUsedAgain(t *testing.T) {
	s := slow(t, 2*time.Second, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(1200 * time.Millisecond)
		w.Header().Set("ETag", `"x"`)
	})
	for i := range 2 {
		if _, err := s.Put(context.Background(), "small", []byte("x")); err != nil {
			t.Errorf("put %d: %v", i, err)
		}
		time.Sleep(1500 * time.Millisecond)
	}
}

// TestSlowDownload: a large answer may take longer than a request without a body, and one that only trickles may not.
func TestSlowDownload(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB, which at the slowest may take 8 s more
	s := slow(t, 2*time.Second, func(w http.ResponseWriter, r *http.Request) {
		piece, most := 64<<10, len(body)
		if strings.Contains(r.URL.Path, "trickle") {
			piece, most = 1, 1000
		}
		w.Header().Set("Content-Length", strconv.Itoa(most))
		w.Header().Set("ETag", `"x"`)
		for at := 0; at < most && r.Context().Err() == nil; at += piece {
			_, _ = w.Write(body[at : at+piece])
			_ = http.NewResponseController(w).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	if got, _, err := s.Get(context.Background(), "large"); err != nil || !bytes.Equal(got, body) {
		t.Errorf("Get: %d bytes, %v", len(got), err)
	}
	if _, _, err := s.Get(context.Background(), "trickle"); err == nil || !strings.Contains(err.Error(), "as long as one request may take") {
		t.Errorf("an answer that trickles: %v", err)
	}
}

// TestPatience: making one object of its parts may take a service longer than any other answer; it is not asked again.
func TestPatience(t *testing.T) {
	asked := 0
	s := slow(t, 8*time.Second, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"x"`)
		switch q := r.URL.Query(); {
		case q.Has("uploads"):
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case r.Method == http.MethodPost:
			asked++
			time.Sleep(4 * time.Second)
			_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>`)
		}
	})
	if _, err := s.Put(context.Background(), "large", make([]byte, 17<<20)); err != nil || asked != 1 {
		t.Errorf("Put: %v, asked %d times", err, asked)
	}
}
