package s3test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
)

// vending opens a store that hands out credentials.
func vending(t *testing.T, srv *Server, prefix, endpoint string) *objstore.S3 {
	t.Helper()
	o := srv.Options("")
	o.Vend, o.STSEndpoint, o.MaxAttempts = true, endpoint, 2
	s, err := objstore.OpenS3(t.Context(), "lake", prefix, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestVend: what minio vends for one table reads that table, under either way of naming the store, and does nothing else.
func TestVend(t *testing.T) {
	clean(t)
	srv := New(t, "lake")
	if minio() == "" {
		// It knows AssumeRoleWithWebIdentity alone, on a port of its own.
		err := objstore.CheckVend(t.Context(), vending(t, srv, "", ""))
		if fault.CodeOf(err) != fault.StoreVend || !strings.Contains(err.Error(), "s3.sts_endpoint is an STS") {
			t.Errorf("versitygw: %v", err)
		}
		t.Skip("versitygw has no AssumeRole: make test-minio runs the rest")
	}
	for _, prefix := range []string{"", "pre/fix"} {
		s := vending(t, srv, prefix, "")
		if err := objstore.CheckVend(t.Context(), s); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
		left := 0
		if err := s.List(t.Context(), "preflight", func(objstore.ObjectInfo) error { left++; return nil }); err != nil || left != 0 {
			t.Errorf("the check left %d objects, %v", left, err)
		}
		const mine, other = "lake/5/7-1/", "lake/5/7-10/"
		keys := []string{mine + "metadata/v1.json", mine + "data/00 ü+%41.parquet", other + "data/f", "lake/5/7-1", "catalog/log/1"}
		for _, key := range keys {
			if _, err := s.Put(t.Context(), key, []byte(key)); err != nil {
				t.Fatal(err)
			}
		}
		c, err := s.Vend(t.Context(), mine)
		if err != nil || time.Until(c.Expires) < 50*time.Minute || c.AccessKeyID == AccessKeyID || c.SecretAccessKey == SecretAccessKey {
			t.Fatalf("%v, %v", c, err)
		}
		o := srv.Options("")
		o.AccessKeyID, o.SecretAccessKey, o.SessionToken = c.AccessKeyID, c.SecretAccessKey, c.SessionToken
		r, err := objstore.OpenS3(t.Context(), "lake", prefix, o)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, key := range keys {
			got, _, err := r.Get(t.Context(), key)
			if own := strings.HasPrefix(key, mine); own && (err != nil || string(got) != key) || !own && fault.CodeOf(err) != fault.StoreDenied {
				t.Errorf("Get %s: %q, %v", key, got, err)
			}
		}
		put := func(key string) error { _, err := r.Put(t.Context(), key, []byte("x")); return err }
		large := func() error {
			_, err := r.PutStream(t.Context(), mine+"l", strings.NewReader(strings.Repeat("x", 20<<20)))
			return err
		}
		for what, err := range map[string]error{
			"replace": put(keys[0]), "make": put(mine + "new"), "make elsewhere": put(other + "new"), "make large": large(), "delete": r.Delete(t.Context(), keys[0]),
			"list": r.List(t.Context(), mine, func(objstore.ObjectInfo) error { return nil }),
		} {
			if fault.CodeOf(err) != fault.StoreDenied {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got, _, err := s.Get(t.Context(), keys[0]); err != nil || string(got) != keys[0] {
			t.Errorf("%s is now %q, %v", keys[0], got, err)
		}
	}
	// minio does not know the variables that name these: what is under such a prefix stays closed, and the check says so.
	for _, prefix := range []string{"a*b", "a?b", "a$b"} {
		if err := objstore.CheckVend(t.Context(), vending(t, srv, prefix, "")); fault.CodeOf(err) != fault.StoreVend || errors.Is(err, objstore.ErrVendWide) {
			t.Errorf("prefix %s: %v", prefix, err)
		}
	}
}

// TestVendWide: an STS that leaves the policy out is found out.
func TestVendWide(t *testing.T) {
	clean(t)
	srv := New(t, "lake")
	if minio() == "" {
		t.Skip("versitygw has no AssumeRole: make test-minio runs this")
	}
	client := sts.New(sts.Options{Region: Region, BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider(AccessKeyID, SecretAccessKey, "")})
	wide := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		out, err := client.AssumeRole(context.Background(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::000000000000:role/x"), RoleSessionName: aws.String("x")})
		if err != nil {
			t.Error(err)
			return
		}
		c := out.Credentials
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey>`+
			`<SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, *c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken, c.Expiration.UTC().Format(time.RFC3339))
	}))
	defer wide.Close()
	err := objstore.CheckVend(t.Context(), vending(t, srv, "", wide.URL))
	if !errors.Is(err, objstore.ErrVendWide) || fault.CodeOf(err) != fault.StoreVendWide || !strings.Contains(err.Error(), "reads outside it: name a store") {
		t.Error(err)
	}
}
