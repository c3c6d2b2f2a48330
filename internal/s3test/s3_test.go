package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/objstore/storetest"
)

// setup starts a server and a proxy, and opens a store through the proxy whose limits are a test's.
func setup(t *testing.T) (*Server, *Proxy, *objstore.S3) {
	t.Helper()
	srv := New(t, "lake")
	p := NewProxy(t, srv.URL)
	o := srv.Options(p.URL)
	o.Stall, o.Timeout, o.MaxAttempts = 500*time.Millisecond, 20*time.Second, 4
	s, err := objstore.OpenS3(context.Background(), "lake", "pre/fix", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return srv, p, s
}

func TestConformance(t *testing.T) {
	srv, conform := New(t, "lake"), storetest.Conform
	if minio() != "" {
		conform = storetest.ConformFolders
	}
	for _, prefix := range []string{"", "pre/fix"} {
		t.Run(prefix, func(t *testing.T) { conform(t, srv.Open(t, "lake", prefix)) })
	}
}

func TestCheck(t *testing.T) {
	_, _, s := setup(t)
	ctx := context.Background()
	if err := objstore.Check(ctx, s); err != nil {
		t.Fatal(err)
	}
	left := 0
	if err := s.List(ctx, "", func(o objstore.ObjectInfo) error { left++; return nil }); err != nil || left != 0 {
		t.Errorf("the check left %d objects, %v", left, err)
	}
	if err := objstore.Check(ctx, unconditional{s}); !errors.Is(err, objstore.ErrNotConditional) {
		t.Errorf("a store that ignores conditions: %v", err)
	}
	if err := objstore.Check(ctx, mismatched{s}); !errors.Is(err, objstore.ErrNotConditional) {
		t.Errorf("a store that ignores If-Match: %v", err)
	}
}

// unconditional is a service that ignores the headers, as some do.
type unconditional struct{ *objstore.S3 }

func (u unconditional) PutIfAbsent(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	return u.Put(ctx, key, data)
}

// mismatched knows If-None-Match alone.
type mismatched struct{ *objstore.S3 }

func (m mismatched) PutIfMatch(ctx context.Context, key string, data []byte, _ string) (objstore.ObjectInfo, error) {
	return m.Put(ctx, key, data)
}

// TestRetried: each of these faults, met twice, is overcome.
func TestRetried(t *testing.T) {
	_, p, s := setup(t)
	ctx := context.Background()
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for name, f := range map[string]Fault{
		"500":       {Status: 500, Code: "InternalError"},
		"502":       {Status: 502},
		"503":       {Status: 503, Code: "SlowDown"},
		"409":       {Status: 409, Code: "ConditionalRequestConflict"},
		"reset":     {Reset: true},
		"hang":      {Hang: true},
		"answer":    {LoseIt: true},
		"cut body":  {CutBody: true},
		"slow body": {SlowBody: 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			defer p.Clear()
			f.Times = 2
			if !f.CutBody && f.SlowBody == 0 {
				f.Method = "PUT"
				hits := p.Inject(f)
				if _, err := s.Put(ctx, "retried", body); err != nil || hits() != 2 {
					t.Fatalf("Put: %v after %d faults", err, hits())
				}
			} else if _, err := s.Put(ctx, "retried", body); err != nil {
				t.Fatal(err)
			}
			p.Clear()
			f.Method = "GET"
			hits := p.Inject(f)
			if got, _, err := s.Get(ctx, "retried"); err != nil || !bytes.Equal(got, body) || hits() != 2 {
				t.Errorf("Get: %d bytes, %v after %d faults", len(got), err, hits())
			}
			p.Clear()
			p.Inject(f)
			if got, err := s.GetRange(ctx, "retried", 16, 1<<10); err != nil || !bytes.Equal(got, body[16:16+1<<10]) {
				t.Errorf("GetRange: %d bytes, %v", len(got), err)
			}
			p.Clear()
			p.Inject(f)
			if err := s.List(ctx, "retr", func(objstore.ObjectInfo) error { return nil }); err != nil {
				t.Errorf("List: %v", err)
			}
		})
	}
}

// TestGivesUp: what does not end is an error in time, with the object's name.
func TestGivesUp(t *testing.T) {
	_, p, s := setup(t)
	ctx := context.Background()
	for name, f := range map[string]Fault{"500": {Status: 500, Code: "InternalError"}, "hang": {Hang: true}, "cut": {CutBody: true}} {
		t.Run(name, func(t *testing.T) {
			defer p.Clear()
			if _, err := s.Put(ctx, "gone", []byte("body")); err != nil {
				t.Fatal(err)
			}
			p.Inject(f)
			began := time.Now()
			_, _, err := s.Get(ctx, "gone")
			if err == nil || !strings.Contains(err.Error(), "s3://lake/pre/fix/gone") || strings.Contains(err.Error(), "\n") {
				t.Errorf("Get: %v", err)
			}
			if took := time.Since(began); took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestLostAnswer: a conditional put that was applied and whose answer was lost is sent again and meets itself; the caller
// hears that it may have won, and what is stored is what it wrote.
func TestLostAnswer(t *testing.T) {
	_, p, s := setup(t)
	ctx := context.Background()
	p.Inject(Fault{Method: "PUT", Times: 1, LoseIt: true})
	if _, err := s.PutIfAbsent(ctx, "once", []byte("mine")); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("PutIfAbsent: %v", err)
	}
	got, info, err := s.Get(ctx, "once")
	if err != nil || string(got) != "mine" {
		t.Fatalf("Get = %q, %v", got, err)
	}
	p.Inject(Fault{Method: "PUT", Times: 1, LoseIt: true})
	if _, err := s.PutIfMatch(ctx, "once", []byte("mine again"), info.ETag); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("PutIfMatch: %v", err)
	}
	if got, _, err := s.Get(ctx, "once"); err != nil || string(got) != "mine again" {
		t.Errorf("Get = %q, %v", got, err)
	}
}

// TestParts: large objects go in parts; a part's loss and the last answer's loss are overcome, and what fails leaves nothing.
func TestParts(t *testing.T) {
	srv, p, _ := setup(t)
	ctx := context.Background()
	o := srv.Options(p.URL)
	o.Stall, o.MaxAttempts = 5*time.Second, 4 // a part of 16 MiB goes to a disk
	s, err := objstore.OpenS3(ctx, "lake", "pre/fix", o)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 40<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]Fault{
		"whole": {Contains: "no such request"}, "a part fails": {Method: "PUT", Contains: "partNumber=2", Times: 2, Status: 503, Code: "SlowDown"},
		"the answer to a part is lost": {Method: "PUT", Contains: "partNumber=3", Times: 1, LoseIt: true},
		"the last answer is lost":      {Method: "POST", Contains: "uploadId=", Times: 1, LoseIt: true},
	} {
		t.Run(name, func(t *testing.T) {
			defer p.Clear()
			p.Inject(f)
			key := "parts/" + strings.ReplaceAll(name, " ", "-")
			info, err := s.PutStream(ctx, key, bytes.NewReader(data))
			if err != nil || info.Size != int64(len(data)) || info.ETag == "" {
				t.Fatalf("PutStream = %+v, %v", info, err)
			}
			if got, head, err := s.Get(ctx, key); err != nil || !bytes.Equal(got, data) || head.ETag != info.ETag {
				t.Errorf("Get: %d bytes, %+v, %v", len(got), head, err)
			}
		})
	}
	p.Inject(Fault{Method: "PUT", Contains: "partNumber=2", Status: 403, Code: "AccessDenied"})
	if _, err := s.Put(ctx, "parts/refused", data); err == nil || !strings.Contains(err.Error(), "s3:PutObject") {
		t.Errorf("a refused part: %v", err)
	}
	if _, err := s.Head(ctx, "parts/refused"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("a refused part left an object: %v", err)
	}
	uploads := 0
	err = filepath.WalkDir(filepath.Join(srv.Root, "lake", ".sgwtmp"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			uploads++
		}
		return nil
	})
	if err != nil || uploads != 0 {
		t.Errorf("%d files of unfinished uploads are left, %v", uploads, err)
	}
}

// TestLostParts: the last answer to an upload is lost, and the service does not know the upload any more when it is asked again.
// The object that is there is ours if it has our mark; another's of the same length is not taken for it.
func TestLostParts(t *testing.T) {
	_, p, s := setup(t)
	ctx := context.Background()
	ours, others := bytes.Repeat([]byte("o"), 17<<20), bytes.Repeat([]byte("x"), 17<<20)
	gone := Fault{Method: "POST", Contains: "uploadId=", Status: 404, Code: "NoSuchUpload"}
	p.Inject(Fault{Method: "POST", Contains: "uploadId=", Times: 1, LoseIt: true})
	p.Inject(gone)
	if info, err := s.PutStream(ctx, "lost", bytes.NewReader(ours)); err != nil || info.Size != int64(len(ours)) {
		t.Errorf("PutStream = %+v, %v", info, err)
	}
	p.Clear()
	if _, err := s.PutStream(ctx, "taken", bytes.NewReader(others)); err != nil {
		t.Fatal(err)
	}
	p.Inject(gone)
	if _, err := s.PutStream(ctx, "taken", bytes.NewReader(ours)); err == nil {
		t.Error("another's object was taken for ours")
	}
}

// TestRefusals: what only an operator can mend is one line with the cure, at the first attempt.
func TestRefusals(t *testing.T) {
	srv, p, _ := setup(t)
	ctx := context.Background()
	wrong := srv.Options("")
	wrong.SecretAccessKey = "not the secret"
	dead := srv.Options("http://127.0.0.1:1")
	dead.MaxAttempts = 2
	for name, c := range map[string]struct {
		bucket string
		o      objstore.S3Options
		want   string
	}{
		"no bucket":    {"elsewhere", srv.Options(""), "make the bucket"},
		"wrong secret": {"lake", wrong, "AWS_SECRET_ACCESS_KEY"},
		"no server":    {"lake", dead, "connection refused"},
	} {
		s, err := objstore.OpenS3(ctx, c.bucket, "", c.o)
		if err == nil {
			err = objstore.Check(ctx, s)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), wrong.SecretAccessKey) {
			t.Errorf("%s: %v", name, err)
		}
		t.Log(err)
	}
	p.TakeTraffic()
	s, err := objstore.OpenS3(ctx, "lake", "", srv.Options(p.URL))
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]string{"AccessDenied": "s3:ListBucket", "ExpiredToken": "AWS_SESSION_TOKEN", "NoSuchBucket": "make the bucket"} {
		hits := p.Inject(Fault{Status: 403, Code: code})
		if _, _, err := s.Get(ctx, "x"); err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, objstore.ErrNotFound) || hits() != 1 {
			t.Errorf("%s: %v after %d attempts", code, err, hits())
		}
		p.Clear()
	}
	for _, bad := range []objstore.S3Options{{Endpoint: "127.0.0.1:9000"}, {AccessKeyID: "half"}, {CABundle: "/does/not/exist"}, {Endpoint: "http://u:secret@h"}} {
		if _, err := objstore.OpenS3(ctx, "lake", "", bad); err == nil || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestEngineProperties: what engines are told says where the store is and no secret.
func TestEngineProperties(t *testing.T) {
	srv, _, _ := setup(t)
	props := objstore.EngineProperties(srv.Open(t, "lake", "x"))
	if props["s3.endpoint"] != srv.URL || props["s3.path-style-access"] != "true" || props["s3.region"] != Region || props["client.region"] != Region {
		t.Errorf("%v", props)
	}
	for k, v := range props {
		if strings.Contains(v, SecretAccessKey) || strings.Contains(v, AccessKeyID) {
			t.Errorf("%s tells a secret", k)
		}
	}
}
