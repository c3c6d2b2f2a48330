package objstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/tarn-db/tarn/internal/fault"
)

// DefaultVendDuration is how long a credential lasts that is given to others.
const DefaultVendDuration = time.Hour

// vendWithin bounds one request for a credential, with all its attempts: an engine waits for the answer.
const vendWithin = 5 * time.Second

// policyLengthMax is what an STS takes of a session policy, bytes.
const policyLengthMax = 2048

// anyRole stands for the role where there are none: the SDK asks for one, and minio gives the caller's own rights as far as
// the session policy goes.
const anyRole = "arn:aws:iam::000000000000:role/tarn"

var errSTSTooLong = errors.New("it did not answer in time")

// connectSTS makes the client that asks for credentials. endpoint is the store's, empty for Amazon's own: an STS of another
// service is at the same address unless something says otherwise, and never at Amazon's.
func (s *S3) connectSTS(cfg aws.Config, endpoint string) error {
	if !s.opts.Vend {
		return nil
	}
	if endpoint == "" && s.opts.RoleARN == "" {
		return fault.Errorf(fault.SettingMissing, "store %s: s3.role_arn is not set: name the role whose rights, as far as one table goes, are given to engines", s.URL(""))
	}
	s.sts = sts.NewFromConfig(cfg, func(o *sts.Options) {
		ofSTS := o.BaseEndpoint != nil && aws.ToString(o.BaseEndpoint) != aws.ToString(cfg.BaseEndpoint) // AWS_ENDPOINT_URL_STS or the profile's
		switch {
		case s.opts.STSEndpoint != "":
			o.BaseEndpoint = &s.opts.STSEndpoint
		case endpoint != "" && !ofSTS:
			o.BaseEndpoint = &endpoint
		}
		s.stsEndpoint = aws.ToString(o.BaseEndpoint)
	})
	return nil
}

// Vend implements Vendor: it asks the STS for a session whose policy is what Vend promises, whatever the role may do.
func (s *S3) Vend(ctx context.Context, prefix string) (Credential, error) {
	fail := func(err error) (Credential, error) {
		return Credential{}, &VendError{URL: s.URL(prefix), Endpoint: s.stsEndpoint, Cause: err}
	}
	if err := checkKey(strings.TrimSuffix(prefix, "/")); err != nil || !strings.HasSuffix(prefix, "/") {
		return fail(errors.Join(err, fmt.Errorf("%q is no folder", prefix)))
	}
	role := s.opts.RoleARN
	policy, err := readPolicy(partition(role), s.bucket, s.prefix+prefix)
	if err != nil {
		return fail(err)
	}
	if role == "" {
		role = anyRole
	}
	ctx, cancel := context.WithTimeoutCause(ctx, vendWithin, errSTSTooLong)
	defer cancel()
	out, err := s.sts.AssumeRole(ctx, &sts.AssumeRoleInput{
		RoleArn: &role, RoleSessionName: aws.String("tarn"), Policy: &policy, DurationSeconds: aws.Int32(int32(s.opts.VendDuration / time.Second)),
	})
	if err != nil && ctx.Err() != nil {
		return fail(context.Cause(ctx))
	}
	if err != nil {
		return fail(sdkError("AssumeRole", s.stsEndpoint, err))
	}
	got := out.Credentials
	if got == nil || aws.ToString(got.AccessKeyId) == "" || aws.ToString(got.SecretAccessKey) == "" || aws.ToString(got.SessionToken) == "" || got.Expiration == nil {
		return fail(errors.New("the answer holds no whole credential"))
	}
	if left := time.Until(*got.Expiration); left <= 0 {
		return fail(fmt.Errorf("what it gave expired %s ago: compare the clocks", -left.Round(time.Second)))
	}
	return Credential{AccessKeyID: *got.AccessKeyId, SecretAccessKey: *got.SecretAccessKey, SessionToken: *got.SessionToken, Expires: *got.Expiration}, nil
}

// partition is which of Amazon's clouds a role is in: aws, aws-cn, aws-us-gov. Its buckets are named after the same.
func partition(role string) string {
	if part := strings.SplitN(role, ":", 3); len(part) == 3 && part[0] == "arn" && part[1] != "" {
		return part[1]
	}
	return "aws"
}

// policyEscape writes a name of objects so that a policy takes it literally. A service that does not know these variables finds
// no object under the name, and so opens nothing.
var policyEscape = strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")

// readPolicy allows reading the objects under a prefix. Nothing is listed: engines know each file by name.
func readPolicy(partition, bucket, prefix string) (string, error) {
	type statement struct {
		Effect, Action, Resource string
	}
	text, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{"Allow", "s3:GetObject", "arn:" + partition + ":s3:::" + bucket + "/" + policyEscape.Replace(prefix) + "*"}}})
	if err != nil {
		return "", err
	}
	if len(text) > policyLengthMax {
		return "", fmt.Errorf("the session policy would have %d bytes, and %d are taken", len(text), policyLengthMax)
	}
	return string(text), nil
}
