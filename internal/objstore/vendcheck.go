package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/fault"
)

// ErrVendWide: a credential for a part of the store does more than read that part.
var ErrVendWide = fault.New(fault.StoreVendWide, "a credential that is meant to read one prefix")

// CheckVend tries a credential on two small objects of its own: it reads the one that it is for, and is refused the other,
// a list and a write. It removes the objects again. nil for a store that is no Vendor.
func CheckVend(ctx context.Context, store Store) (err error) {
	v := VendorOf(store)
	if v == nil {
		return nil
	}
	name := "preflight-" + rand.Text()
	in, out := name+"/in", name+"-out"
	for _, key := range []string{in, out} {
		if _, err := store.Put(ctx, key, []byte("tarn\n")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Delete(ctx, key)) }()
	}
	c, err := v.Vend(ctx, name+"/")
	if err != nil {
		return err
	}
	reader, err := store.(*S3).as(ctx, c)
	if err != nil {
		return err
	}
	defer reader.Close()
	if _, _, err := reader.Get(ctx, in); err != nil {
		return fault.Errorf(fault.StoreVend, "a credential for %s does not read it (%s): allow the role s3:GetObject below %s", store.URL(name+"/"), oneLine(reasonOf(err)), store.URL(""))
	}
	for _, must := range []struct {
		what string
		do   func() error
	}{
		{"reads outside it", func() error { _, _, err := reader.Get(ctx, out); return err }},
		{"lists the store", func() error { return reader.List(ctx, name, func(ObjectInfo) error { return nil }) }},
		{"writes into it", func() error { _, err := reader.Put(ctx, in, []byte("other\n")); return err }},
		{"deletes in it", func() error { return reader.Delete(ctx, in) }},
	} {
		if err := refused(must.what, must.do()); err != nil {
			return err
		}
	}
	return nil
}

// as opens the same store with another's credential.
func (s *S3) as(ctx context.Context, c Credential) (*S3, error) {
	o := s.opts
	o.Profile, o.Vend = "", false
	o.AccessKeyID, o.SecretAccessKey, o.SessionToken = c.AccessKeyID, c.SecretAccessKey, c.SessionToken
	if o.Endpoint == "" {
		o.Endpoint = s.props["s3.endpoint"]
	}
	o.Region = s.props["s3.region"]
	return OpenS3(ctx, s.bucket, s.prefix, o)
}

// refused is nil if the service refuses what a credential must not do.
func refused(what string, err error) error {
	var answer *S3Error
	switch {
	case err == nil:
		return fmt.Errorf("%w also %s: name a store whose STS keeps a session to its policy, such as Amazon S3 or MinIO, or set s3.vend to off", ErrVendWide, what)
	case errors.As(err, &answer) && answer.FaultCode() == fault.StoreDenied:
		return nil
	}
	return fmt.Errorf("whether a credential for one prefix %s was not found out: %w", what, err)
}

// reasonOf is what the service said, without a cure that is for other credentials.
func reasonOf(err error) string {
	var answer *S3Error
	if errors.As(err, &answer) {
		return answer.reason()
	}
	return err.Error()
}
