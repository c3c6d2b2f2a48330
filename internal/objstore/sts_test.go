package objstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
)

// double stands for an STS where the protocol's edges are tested; the real one is minio's, in internal/s3test and internal/e2e.
type double struct {
	*httptest.Server
	mu    sync.Mutex
	asked []url.Values
	// answer is what it says; nil for a credential of an hour.
	answer func(w http.ResponseWriter, r *http.Request)
}

const doubleSecret, doubleToken = "canarySecret-77aa", "canaryToken-51fe"

// given is the answer of a real STS, as far as a client reads it.
func given(expires time.Time) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>ASIADOUBLE</AccessKeyId>`+
			`<SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			doubleSecret, doubleToken, expires.UTC().Format(time.RFC3339))
	}
}

func refusal(status int, code string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>said %s</Message></Error></ErrorResponse>`, code, code)
	}
}

func newDouble(t *testing.T) *double {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	d := &double{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		d.asked = append(d.asked, r.PostForm)
		answer := d.answer
		d.mu.Unlock()
		if answer == nil {
			answer = given(time.Now().Add(time.Hour))
		}
		answer(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// open opens a store that the double's credentials are for.
func (d *double) open(t *testing.T, change func(*S3Options)) *S3 {
	t.Helper()
	o := S3Options{Endpoint: d.URL, Region: "eu-north-1", AccessKeyID: "own", SecretAccessKey: "ownSecret", Vend: true, VendDuration: 30 * time.Minute}
	if change != nil {
		change(&o)
	}
	s, err := OpenS3(t.Context(), "lake", "pre/fix", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestVendAsks: what is asked for is a session that reads one prefix for the time that is set.
func TestVendAsks(t *testing.T) {
	d := newDouble(t)
	s := d.open(t, func(o *S3Options) { o.RoleARN = "arn:aws-cn:iam::123456789012:role/engines" })
	c, err := VendorOf(s).Vend(t.Context(), "lake/5/16384-1/")
	if err != nil || c.AccessKeyID != "ASIADOUBLE" || c.SecretAccessKey != doubleSecret || c.SessionToken != doubleToken || time.Until(c.Expires) < 50*time.Minute {
		t.Fatalf("%v, %v", c, err)
	}
	q := d.asked[0]
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws-cn:s3:::lake/pre/fix/lake/5/16384-1/*"}]}`
	for name, want := range map[string]string{"Action": "AssumeRole", "DurationSeconds": "1800", "RoleArn": "arn:aws-cn:iam::123456789012:role/engines", "RoleSessionName": "tarn", "Policy": policy} {
		if got := q.Get(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for _, prefix := range []string{"", "/", "lake/5/16384-1", "../", "lake//x/"} {
		if _, err := s.Vend(t.Context(), prefix); err == nil {
			t.Errorf("prefix %q is taken", prefix)
		}
	}
	if len(d.asked) != 1 {
		t.Errorf("asked %d times", len(d.asked))
	}
}

// TestPolicyIsLiteral: no name of objects opens more than itself.
func TestPolicyIsLiteral(t *testing.T) {
	text, err := readPolicy("aws", "b", `a*b?c${aws:username}"/`)
	if err != nil || !strings.Contains(text, `"arn:aws:s3:::b/a${*}b${?}c${$}{aws:username}\"/*"`) || !json.Valid([]byte(text)) {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := readPolicy("aws", "b", strings.Repeat("x", policyLengthMax)); err == nil {
		t.Error("a policy longer than an STS takes")
	}
}

// TestSTSEndpoint: it is never Amazon's where the store is not.
func TestSTSEndpoint(t *testing.T) {
	d := newDouble(t)
	if s := d.open(t, nil); s.stsEndpoint != d.URL {
		t.Errorf("beside s3.endpoint: %q", s.stsEndpoint)
	}
	if s := d.open(t, func(o *S3Options) { o.STSEndpoint = "http://sts.example" }); s.stsEndpoint != "http://sts.example" {
		t.Errorf("s3.sts_endpoint: %q", s.stsEndpoint)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", d.URL)
	if s := d.open(t, func(o *S3Options) { o.Endpoint = "" }); s.stsEndpoint != d.URL {
		t.Errorf("AWS_ENDPOINT_URL_S3: %q", s.stsEndpoint)
	}
	t.Setenv("AWS_ENDPOINT_URL", "http://all.example")
	if s := d.open(t, nil); s.stsEndpoint != d.URL {
		t.Errorf("s3.endpoint and AWS_ENDPOINT_URL: %q", s.stsEndpoint)
	}
	t.Setenv("AWS_ENDPOINT_URL_STS", "http://sts.example")
	if s := d.open(t, nil); s.stsEndpoint != "http://sts.example" {
		t.Errorf("AWS_ENDPOINT_URL_STS: %q", s.stsEndpoint)
	}
	for _, name := range []string{"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		os.Unsetenv(name)
	}
	amazon := func(o *S3Options) { o.Endpoint, o.RoleARN = "", "arn:aws:iam::123456789012:role/engines" }
	if s := d.open(t, amazon); s.stsEndpoint != "" {
		t.Errorf("Amazon's store: %q", s.stsEndpoint)
	}
	_, err := OpenS3(t.Context(), "lake", "", S3Options{Region: "eu-north-1", AccessKeyID: "a", SecretAccessKey: "b", Vend: true})
	if fault.CodeOf(err) != fault.SettingMissing || !strings.Contains(err.Error(), "s3.role_arn is not set") {
		t.Errorf("Amazon's without a role: %v", err)
	}
	if VendorOf(d.open(t, func(o *S3Options) { o.Vend = false })) != nil || VendorOf(NewMem()) != nil {
		t.Error("a store that was not told to is a Vendor")
	}
}

// TestVendFails: each way of an STS to give nothing is an error in time with a code and a cure, without a secret, and no
// credential.
func TestVendFails(t *testing.T) {
	d := newDouble(t)
	s := d.open(t, nil)
	hang := make(chan struct{})
	defer close(hang)
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request)
		want   string
	}{
		"denied":   {refusal(403, "AccessDenied"), "(said AccessDenied (403 AccessDenied)): let tarn's credentials do sts:AssumeRole"},
		"bad role": {refusal(400, "ValidationError"), "check s3.role_arn"},
		"down":     {refusal(500, "InternalFailure"), "s3.sts_endpoint"},
		"no STS":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") }, "s3.sts_endpoint"},
		"half":     {func(w http.ResponseWriter, _ *http.Request) { given(time.Time{})(half{w}, nil) }, "the answer holds no whole credential"},
		"slow":     {func(_ http.ResponseWriter, r *http.Request) { <-hang }, "it did not answer in time"},
		"expired":  {given(time.Now().Add(-time.Minute)), "compare the clocks"},
	} {
		d.mu.Lock()
		d.answer = c.answer
		d.mu.Unlock()
		began := time.Now()
		got, err := s.Vend(context.Background(), "t/")
		var typed *VendError
		if !errors.As(err, &typed) || fault.CodeOf(err) != fault.StoreVend || !strings.Contains(err.Error(), c.want) || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%s: %v", name, err)
		}
		if got != (Credential{}) || strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), "canary") || strings.Contains(err.Error(), "ownSecret") {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if took := time.Since(began); took > 6*vendWithin {
			t.Errorf("%s took %v", name, took)
		}
	}
}

// half takes the session token out of an answer.
type half struct{ http.ResponseWriter }

func (h half) Write(b []byte) (int, error) {
	return h.ResponseWriter.Write([]byte(strings.Replace(string(b), doubleToken, "", 1)))
}

// TestCredentialHidesItself in whatever way it is printed.
func TestCredentialHidesItself(t *testing.T) {
	c := Credential{AccessKeyID: "ASIA", SecretAccessKey: doubleSecret, SessionToken: doubleToken, Expires: time.Now()}
	var logged strings.Builder
	for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(h).Info("given", "c", c, "pointer", &c, "in", []Credential{c})
	}
	_, err := json.Marshal(map[string]any{"c": c})
	text := fmt.Sprintf("%v %+v %#v %s %q %v %v", c, c, c, c, c, &c, []Credential{c}) + logged.String() + fmt.Sprint(err)
	if strings.Contains(text, "canary") || !strings.Contains(text, "ASIA") || err == nil {
		t.Errorf("%s", text)
	}
}
