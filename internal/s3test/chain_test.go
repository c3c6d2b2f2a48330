package s3test

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
)

// clean leaves no AWS setting of the machine.
func clean(t *testing.T) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// reach opens the store with what the environment says and writes to it.
func reach(t *testing.T, o objstore.S3Options) error {
	t.Helper()
	s, err := objstore.OpenS3(context.Background(), "lake", "chain", o)
	if err != nil {
		return err
	}
	defer s.Close()
	return objstore.Check(context.Background(), s)
}

// TestChain: the usual variables and files alone are enough, and what tarn.yaml says wins.
func TestChain(t *testing.T) {
	srv := New(t, "lake")
	t.Run("variables", func(t *testing.T) {
		clean(t)
		for _, v := range srv.Environ("") {
			name, value, _ := strings.Cut(v, "=")
			t.Setenv(name, value)
		}
		if err := reach(t, objstore.S3Options{}); err != nil {
			t.Error(err)
		}
		if err := reach(t, objstore.S3Options{AccessKeyID: "other", SecretAccessKey: "other"}); err == nil {
			t.Error("the section's credentials did not win")
		}
	})
	t.Run("profile", func(t *testing.T) {
		clean(t)
		dir := t.TempDir()
		write(t, filepath.Join(dir, "config"), "[profile lake]\nregion = "+Region+"\nendpoint_url = "+srv.URL+"\n")
		write(t, filepath.Join(dir, "credentials"), "[lake]\naws_access_key_id = "+AccessKeyID+"\naws_secret_access_key = "+SecretAccessKey+"\n")
		t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
		if err := reach(t, objstore.S3Options{Profile: "lake"}); err != nil {
			t.Error(err)
		}
		t.Setenv("AWS_PROFILE", "lake")
		if err := reach(t, objstore.S3Options{}); err != nil {
			t.Error(err)
		}
		if err := reach(t, objstore.S3Options{Profile: "nobody"}); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("a profile that is not there: %v", err)
		}
	})
	t.Run("nothing", func(t *testing.T) {
		clean(t)
		if err := reach(t, objstore.S3Options{Endpoint: srv.URL}); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
			t.Errorf("without credentials: %v", err)
		}
	})
}

// TestSessionToken: it goes with each request.
func TestSessionToken(t *testing.T) {
	clean(t)
	var seen atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("X-Amz-Security-Token") == "session")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer srv.Close()
	o := objstore.S3Options{Endpoint: srv.URL, AccessKeyID: "a", SecretAccessKey: "b", SessionToken: "session"}
	if err := reach(t, o); err == nil || !seen.Load() {
		t.Errorf("the token was sent: %v, %v", seen.Load(), err)
	}
}

// TestCABundle: a service whose certificate no public authority signed is trusted by file, and only so.
func TestCABundle(t *testing.T) {
	clean(t)
	srv := New(t, "lake")
	target, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	tls := httptest.NewTLSServer(forward(target))
	defer tls.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	write(t, bundle, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw})))
	o := srv.Options(tls.URL)
	o.MaxAttempts = 2
	if err := reach(t, o); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if err := reach(t, o); err != nil {
		t.Errorf("AWS_CA_BUNDLE: %v", err)
	}
	t.Setenv("AWS_CA_BUNDLE", "")
	o.CABundle = bundle
	if err := reach(t, o); err != nil {
		t.Errorf("s3.ca_bundle: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
