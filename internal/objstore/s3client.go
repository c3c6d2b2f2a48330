package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/tarn-db/tarn/internal/fault"
)

// backoffMax is the longest wait between two attempts.
const backoffMax = 5 * time.Second

// connectionsMax bounds the open connections to a store.
const connectionsMax = 64

func (o S3Options) withDefaults() S3Options {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Stall <= 0 {
		o.Stall = 15 * time.Second
	}
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = 10
	}
	if o.VendDuration <= 0 {
		o.VendDuration = DefaultVendDuration
	}
	return o
}

// connect makes the client.
func (s *S3) connect(ctx context.Context) error {
	cfg, err := s.loadConfig(ctx)
	if err != nil {
		return fmt.Errorf("store %s: the AWS configuration cannot be used (%w): correct the s3: section of tarn.yaml, AWS_* variables or the profile", s.URL(""), err)
	}
	endpoint, err := s.endpoint(cfg)
	if err != nil {
		return err
	}
	s.patient = s.opts.patient(cfg.HTTPClient)
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if s.opts.Endpoint != "" {
			o.BaseEndpoint = &s.opts.Endpoint
		}
		o.UsePathStyle = s.pathStyle(endpoint)
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	if cfg.Region == "" {
		if cfg.Region, err = s.findRegion(ctx, cfg, endpoint != ""); err != nil {
			return err
		}
		region := cfg.Region
		s.client = s3.New(s.client.Options(), func(o *s3.Options) { o.Region = region })
	}
	s.props = map[string]string{
		"s3.region": cfg.Region, "client.region": cfg.Region, "s3.path-style-access": strconv.FormatBool(s.pathStyle(endpoint)),
	}
	if endpoint != "" {
		s.props["s3.endpoint"] = endpoint
	}
	return s.connectSTS(cfg, endpoint)
}

func (s *S3) loadConfig(ctx context.Context) (aws.Config, error) {
	o := s.opts
	load := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(o.httpClient()),
		awsconfig.WithRetryer(o.retryer),
		awsconfig.WithAppID("tarn"),
		awsconfig.WithLogger(logging.Nop{}), // what it would say is in the errors
	}
	if o.Region != "" {
		load = append(load, awsconfig.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, awsconfig.WithSharedConfigProfile(o.Profile))
	}
	if o.AccessKeyID != "" || o.SecretAccessKey != "" {
		if o.AccessKeyID == "" || o.SecretAccessKey == "" {
			return aws.Config{}, errors.New("s3.access_key_id and s3.secret_access_key go together")
		}
		load = append(load, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(o.AccessKeyID, o.SecretAccessKey, o.SessionToken)))
	}
	if o.CABundle != "" {
		f, err := os.Open(o.CABundle)
		if err != nil {
			return aws.Config{}, err
		}
		defer f.Close()
		load = append(load, awsconfig.WithCustomCABundle(f)) // read before LoadDefaultConfig returns
	}
	return awsconfig.LoadDefaultConfig(ctx, load...)
}

// endpoint is the URL of a service that is not Amazon's, from the options or AWS_ENDPOINT_URL(_S3) or the profile; else
// empty.
func (s *S3) endpoint(cfg aws.Config) (string, error) {
	e := s.opts.Endpoint
	if e == "" {
		e = os.Getenv("AWS_ENDPOINT_URL_S3")
	}
	if e == "" {
		e = aws.ToString(cfg.BaseEndpoint)
	}
	if e == "" {
		return "", nil
	}
	u, err := url.Parse(e)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", fault.Errorf(fault.Setting, "store %s: endpoint %q is no URL of a service: write http://host:port or https://host", s.URL(""), redactURL(e))
	}
	return strings.TrimSuffix(e, "/"), nil
}

// redactURL hides what a URL may hold of a password.
func redactURL(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "(not a URL)"
}

// pathStyle says whether the bucket goes into the path of URLs: a host that is an address has no subdomains.
func (s *S3) pathStyle(endpoint string) bool {
	if s.opts.PathStyle != nil {
		return *s.opts.PathStyle
	}
	u, err := url.Parse(endpoint)
	if endpoint == "" || err != nil {
		return false
	}
	host := u.Hostname()
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// findRegion asks the service for the bucket's region, which it tells whoever may see the bucket at all. Other services than
// Amazon's mostly have none, and take the default's name.
func (s *S3) findRegion(ctx context.Context, cfg aws.Config, foreign bool) (string, error) {
	const usual = "us-east-1"
	if foreign {
		return usual, nil
	}
	ctx, cancel := s.limited(ctx, 0)
	defer cancel()
	out, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket}, func(o *s3.Options) { o.Region = usual })
	if err == nil && aws.ToString(out.BucketRegion) != "" {
		return *out.BucketRegion, nil
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region, nil
		}
	}
	if err == nil {
		err = errors.New("it does not say")
	}
	e := &S3Error{Op: "HeadBucket", URL: s.URL(""), Err: err}
	if fix := e.Fix(); fix != "" { // without credentials nothing else can work either
		return "", fault.Errorf(fault.StoreCredentials, "store %s: there are no credentials: %s", s.URL(""), fix)
	}
	return "", fault.Errorf(fault.StoreRegion, "store %s: the bucket's region is not known and could not be asked for (%s): set AWS_REGION or s3.region", s.URL(""), e.reason())
}

// retryer decides which answers are worth another attempt. There is no token bucket: every call has its own limit in time.
func (o S3Options) retryer() aws.Retryer {
	return retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts, r.MaxBackoff, r.RateLimiter = o.MaxAttempts, backoffMax, ratelimit.None
		r.Retryables = append(r.Retryables,
			// Two conditional puts met: the service asks for another attempt, which then finds what the winner wrote.
			retry.RetryableErrorCode{Codes: map[string]struct{}{"ConditionalRequestConflict": {}, "OperationAborted": {}}},
			retry.IsErrorRetryableFunc(isBroken))
	})
}

// isBroken takes a connection that broke or stood still for worth another attempt, unless it is the caller who gave up.
func isBroken(err error) aws.Ternary {
	var n net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return aws.UnknownTernary
	case errors.As(err, &n) && n.Timeout(), isCutOff(err):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// backoff waits before one more attempt of what the SDK does not repeat itself.
func (s *S3) backoff(ctx context.Context, attempt int) error {
	d, err := retry.NewExponentialJitterBackoff(backoffMax).BackoffDelay(attempt, nil)
	if err != nil {
		return err
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// httpClient is one whose connections end when they stand still, in either direction.
func (o S3Options) httpClient() aws.HTTPClient {
	return awshttp.NewBuildableClient().WithTransportOptions(o.transport(o.Stall))
}

// patient is client with more time for an answer: a service may need it to make one object of many parts. If the request is
// given up and sent again while the first is worked on, some make the object twice, and for a moment it is not there.
func (o S3Options) patient(client aws.HTTPClient) aws.HTTPClient {
	if b, ok := client.(*awshttp.BuildableClient); ok {
		return b.WithTransportOptions(o.transport(max(o.Stall, o.Timeout)))
	}
	return client
}

func (o S3Options) transport(stall time.Duration) func(*http.Transport) {
	dialer := &net.Dialer{Timeout: o.Stall, KeepAlive: 30 * time.Second}
	return func(t *http.Transport) {
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &stallConn{c, stall}, nil
		}
		t.TLSHandshakeTimeout = o.Stall
		t.MaxConnsPerHost, t.MaxIdleConnsPerHost = connectionsMax, connectionsMax
		t.IdleConnTimeout = o.Stall
	}
}

// stallConn is a connection on which each read and write must get something done in time. An answer that takes its time
// before the first byte counts as standing still too.
type stallConn struct {
	net.Conn
	limit time.Duration
}

// Read is net.Conn's, within the limit.
func (c *stallConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write is net.Conn's, within the limit for each piece. The read that waits for the answer began before the request did, on a
// connection used before perhaps long before: it has the limit from each piece on, or a large request that goes up slowly,
// and any request on a connection that was idle, would seem to stand still.
func (c *stallConn) Write(p []byte) (n int, err error) {
	const piece = 64 << 10
	for n < len(p) && err == nil {
		if err = c.SetDeadline(time.Now().Add(c.limit)); err != nil {
			break
		}
		var m int
		m, err = c.Conn.Write(p[n:min(len(p), n+piece)])
		n += m
	}
	return n, err
}
