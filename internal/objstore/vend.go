package objstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
)

// Vendor is a Store that can give others credentials for a part of itself.
type Vendor interface {
	// Vend asks for a credential with which the objects whose keys begin with prefix can be read for some time, and nothing
	// else can be done. prefix ends with a slash, so that "t-1/" opens nothing of "t-10/". It returns within seconds. The
	// store's own credentials are never what it gives.
	Vend(ctx context.Context, prefix string) (Credential, error)
}

// VendorOf is a store as a Vendor, nil if it is none or was not told to be one (S3Options.Vend).
func VendorOf(s Store) Vendor {
	if v, ok := s.(*S3); ok && v.sts != nil {
		return v
	}
	return nil
}

// Credential is a temporary key of an S3 store. It prints without its secrets.
type Credential struct {
	AccessKeyID     string // names the key; no secret
	SecretAccessKey string
	SessionToken    string
	Expires         time.Time
}

// String leaves the secrets out.
func (c Credential) String() string {
	return "credential " + c.AccessKeyID + " until " + c.Expires.UTC().Format(time.RFC3339)
}

// GoString leaves the secrets out of %#v.
func (c Credential) GoString() string { return c.String() }

// LogValue leaves the secrets out of logs, whatever their format.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON refuses: who hands the secrets out names each field.
func (c Credential) MarshalJSON() ([]byte, error) {
	return nil, errors.New("BUG: a credential is not written as it is")
}

// VendError is a credential that was not to be had.
type VendError struct {
	URL      string // of the prefix it was wanted for
	Endpoint string // of the STS; empty for Amazon's own
	Cause    error  // an *S3Error if it was the STS that failed
}

// Error implements error.
func (e *VendError) Error() string {
	at, reason, fix := "Amazon's STS", e.Cause.Error(), "see whether s3.sts_endpoint names an STS, and whether it answers"
	if e.Endpoint != "" {
		at = "the STS at " + e.Endpoint
	}
	var answer *S3Error
	if errors.As(e.Cause, &answer) {
		reason = answer.reason()
		switch {
		case answer.noCredentials():
			fix = answer.Fix()
		case answer.Status == 403:
			fix = "let tarn's credentials do sts:AssumeRole on s3.role_arn, and let the role's trust policy name them"
		case answer.Status >= 400 && answer.Status < 500:
			fix = "check s3.role_arn, s3.vend_duration against what the role allows, and that s3.sts_endpoint is an STS"
		}
	}
	return fmt.Sprintf("no credential for %s from %s (%s): %s", e.URL, at, oneLine(reason), fix)
}

// Unwrap gives the cause.
func (e *VendError) Unwrap() error { return e.Cause }

// FaultCode implements fault.Coded.
func (e *VendError) FaultCode() fault.Code { return fault.StoreVend }
