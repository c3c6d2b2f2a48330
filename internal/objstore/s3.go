package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
)

// S3Options say how an S3 store is reached. What is empty is left to the AWS SDK's chain: AWS_* variables, the shared
// configuration and credentials files, a web identity, the instance's role.
type S3Options struct {
	Endpoint        string // URL of another store than Amazon's
	Region          string
	PathStyle       *bool  // nil: path style if the endpoint's host is an IP address or localhost
	Profile         string // of the shared configuration file
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	CABundle        string // PEM file of the certificate authorities to trust instead of the system's

	Vend         bool          // the store is a Vendor: it has an STS, which gives credentials for a part of it
	STSEndpoint  string        // URL of the STS; empty for the store's endpoint, or Amazon's own if it has none
	RoleARN      string        // the role that the STS is asked for; Amazon's wants one
	VendDuration time.Duration // of what the STS gives; 0 is 1 hour

	Timeout     time.Duration // limit of one call with all its attempts, beside the time its bytes take; 0 is 1 minute
	Stall       time.Duration // limit of a connection without progress; 0 is 15 s
	MaxAttempts int           // of one request; 0 is 10
}

// S3 is a Store in a bucket of an S3 service.
//
// A request is tried again after a lost connection, 500, 502, 503, 504, throttling and 409 ConditionalRequestConflict, with
// exponential backoff and full jitter, until Timeout. So a conditional put whose answer was lost may be sent twice, and
// the second then meets what the first has written: it ends with ErrPrecondition, as Store says, and the caller reads back.
//
// Invariant: the SDK checks what it sends and receives with CRC32 where the service supports it, and no read is shorter
// than the service said it would be.
type S3 struct {
	client  *s3.Client
	patient aws.HTTPClient // for requests whose answer takes its time
	opts    S3Options
	bucket  string
	prefix  string // empty, or ends with /
	props   map[string]string

	sts         *sts.Client // nil unless the store is a Vendor
	stsEndpoint string      // empty for Amazon's own
}

// OpenS3 opens the store s3://bucket/prefix. It asks nothing of the service, unless the region is to be found out.
func OpenS3(ctx context.Context, bucket, prefix string, o S3Options) (*S3, error) {
	o = o.withDefaults()
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		if err := checkKey(prefix); err != nil {
			return nil, fmt.Errorf("store s3://%s/%s: %w", bucket, prefix, err)
		}
		prefix += "/"
	}
	s := &S3{opts: o, bucket: bucket, prefix: prefix}
	return s, s.connect(ctx)
}

// limited bounds a call by time.
func (s *S3) limited(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.limit(bytes), errS3TooLong)
}

// limit is how long a call may take: the options' and what so many bytes may.
func (s *S3) limit(bytes int64) time.Duration {
	const slowest, largest = 256 << 10, 5 << 40 // bytes per second, and in an object
	return s.opts.Timeout + time.Duration(min(bytes, largest)/slowest)*time.Second
}

func (s *S3) at(key string) (*string, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	full := s.prefix + key
	if len(full) > keyLengthMax {
		return nil, fmt.Errorf("object key %q: longer than 1024 bytes with its prefix", full)
	}
	return &full, nil
}

// Get reads a whole object.
func (s *S3) Get(ctx context.Context, key string) ([]byte, ObjectInfo, error) {
	return s.read(ctx, key, "")
}

// GetRange reads n bytes from off.
func (s *S3) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if off < 0 {
		return nil, fmt.Errorf("%s: range starts at %d", key, off)
	}
	if n == 0 {
		_, err := s.Head(ctx, key)
		return nil, err
	}
	r := fmt.Sprintf("bytes=%d-", off)
	if n > 0 {
		r += fmt.Sprint(off + n - 1)
	}
	data, _, err := s.read(ctx, key, r)
	if isCode(err, "InvalidRange") {
		return nil, nil // beyond the object's end
	}
	if err == nil && n >= 0 && int64(len(data)) > n {
		return nil, s.fail("GetObject", key, fmt.Errorf("asked for %d bytes, got %d", n, len(data)))
	}
	return data, err
}

// read gets an object or a part of it. A body that ends early or stands still is asked for again.
func (s *S3) read(ctx context.Context, key, byteRange string) ([]byte, ObjectInfo, error) {
	at, err := s.at(key)
	if err != nil {
		return nil, ObjectInfo{}, err
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: at}
	if byteRange != "" {
		in.Range = &byteRange
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &reading{s: s, key: key, in: in, limit: time.AfterFunc(s.limit(0), func() { cancel(errS3TooLong) })}
	defer r.limit.Stop()
	for attempt := 1; ; attempt++ {
		data, info, err := r.once(ctx)
		var cut *cutBody
		switch {
		case err != nil && errors.Is(context.Cause(ctx), errS3TooLong):
			return nil, ObjectInfo{}, s.fail("GetObject", key, errS3TooLong)
		case err == nil || !errors.As(err, &cut) || attempt >= s.opts.MaxAttempts:
			return data, info, err
		}
		if s.backoff(ctx, attempt) != nil {
			return nil, ObjectInfo{}, err
		}
	}
}

// reading is one read with all its attempts. How long it may take follows from how much the service says it is.
type reading struct {
	s     *S3
	key   string
	in    *s3.GetObjectInput
	limit *time.Timer
	grown bool
}

// cutBody is an answer whose body could not be read to its end.
type cutBody struct{ err error }

func (c *cutBody) Error() string { return "the answer was cut off: " + c.err.Error() }
func (c *cutBody) Unwrap() error { return c.err }

func (r *reading) once(ctx context.Context) ([]byte, ObjectInfo, error) {
	s, key := r.s, r.key
	out, err := s.client.GetObject(ctx, r.in)
	if err != nil {
		return nil, ObjectInfo{}, s.fail("GetObject", key, err)
	}
	defer out.Body.Close()
	size := aws.ToInt64(out.ContentLength)
	if out.ContentLength == nil || size < 0 {
		return nil, ObjectInfo{}, s.fail("GetObject", key, errors.New("the answer does not say how long it is"))
	}
	if !r.grown && r.limit.Stop() { // once: the whole call is bounded
		r.grown = true
		r.limit.Reset(s.limit(size))
	}
	data, err := readExactly(out.Body, size)
	if err != nil {
		return nil, ObjectInfo{}, s.fail("GetObject", key, &cutBody{err})
	}
	info := ObjectInfo{Key: key, Size: size, ETag: aws.ToString(out.ETag), ModTime: aws.ToTime(out.LastModified)}
	return data, info, nil
}

// readExactly reads size bytes and the end after them. Memory grows with what arrives, not with what was announced.
func readExactly(r io.Reader, size int64) ([]byte, error) {
	const trusted = 64 << 20
	buf := bytes.NewBuffer(make([]byte, 0, min(size, trusted)+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(r, size+1)); err != nil {
		return nil, err
	}
	if int64(buf.Len()) != size {
		return nil, fmt.Errorf("%d of %d bytes came", buf.Len(), size)
	}
	return buf.Bytes(), nil
}

// Head describes an object without reading it.
func (s *S3) Head(ctx context.Context, key string) (ObjectInfo, error) {
	at, err := s.at(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	ctx, cancel := s.limited(ctx, 0)
	defer cancel()
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: at})
	if err != nil {
		return ObjectInfo{}, s.fail("HeadObject", key, err)
	}
	return ObjectInfo{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag), ModTime: aws.ToTime(out.LastModified)}, nil
}

// Put writes or replaces an object.
func (s *S3) Put(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	if len(data) > partBytes {
		return s.PutStream(ctx, key, bytes.NewReader(data))
	}
	return s.put(ctx, key, data, s3.PutObjectInput{})
}

// PutIfAbsent writes only if no object has that key.
func (s *S3) PutIfAbsent(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return s.put(ctx, key, data, s3.PutObjectInput{IfNoneMatch: aws.String("*")})
}

// PutIfMatch replaces only if the current ETag is etag.
func (s *S3) PutIfMatch(ctx context.Context, key string, data []byte, etag string) (ObjectInfo, error) {
	info, err := s.put(ctx, key, data, s3.PutObjectInput{IfMatch: &etag})
	if errors.Is(err, ErrNotFound) {
		err = precondition(key, "the object does not exist")
	}
	return info, err
}

// put sends one object in one request. Durability: the service answers when the object is stored.
func (s *S3) put(ctx context.Context, key string, data []byte, in s3.PutObjectInput) (ObjectInfo, error) {
	at, err := s.at(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	ctx, cancel := s.limited(ctx, int64(len(data)))
	defer cancel()
	in.Bucket, in.Key, in.Body, in.ContentLength = &s.bucket, at, bytes.NewReader(data), aws.Int64(int64(len(data)))
	out, err := s.client.PutObject(ctx, &in)
	if err != nil {
		return ObjectInfo{}, s.fail("PutObject", key, err)
	}
	return ObjectInfo{Key: key, Size: int64(len(data)), ETag: aws.ToString(out.ETag), ModTime: serverTime(out.ResultMetadata)}, nil
}

// serverTime is the Date of an answer, which is when the object was stored; the local clock if it had none.
func serverTime(m middleware.Metadata) time.Time {
	if t, ok := awsmiddleware.GetServerTime(m); ok && !t.IsZero() {
		return t
	}
	return time.Now()
}

// Delete removes an object. In a bucket with versions it becomes an old one: a lifecycle rule of the bucket ends those.
func (s *S3) Delete(ctx context.Context, key string) error {
	at, err := s.at(key)
	if err != nil {
		return err
	}
	ctx, cancel := s.limited(ctx, 0)
	defer cancel()
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: at})
	if err = s.fail("DeleteObject", key, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// List calls fn for each object under prefix in key order, a page of at most 1,000 at a time.
func (s *S3) List(ctx context.Context, prefix string, fn func(ObjectInfo) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)}
	last := ""
	for {
		out, err := s.listPage(ctx, prefix, in)
		if err != nil {
			return err
		}
		for i := range out.Contents {
			o := &out.Contents[i]
			full := aws.ToString(o.Key)
			key, ok := strings.CutPrefix(full, s.prefix)
			// Invariant: keys rise. A service that lists out of order, or a page again, is refused and not followed.
			if !ok || !strings.HasPrefix(key, prefix) || full <= last && last != "" {
				return s.fail("ListObjectsV2", prefix, fmt.Errorf("the service listed %q after %q", full, last))
			}
			last = full
			if key == "" || strings.HasSuffix(key, "/") {
				continue // a folder that a console has made
			}
			info := ObjectInfo{Key: key, Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag), ModTime: aws.ToTime(o.LastModified)}
			if err := fn(info); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
		token := aws.ToString(out.NextContinuationToken)
		if token == "" || token == aws.ToString(in.ContinuationToken) {
			return s.fail("ListObjectsV2", prefix, errors.New("the service says there is more and does not say where"))
		}
		in.ContinuationToken = &token
	}
}

func (s *S3) listPage(ctx context.Context, prefix string, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := s.limited(ctx, 0)
	defer cancel()
	out, err := s.client.ListObjectsV2(ctx, in)
	return out, s.fail("ListObjectsV2", prefix, err)
}

// URL is s3://bucket/prefix/key. Iceberg takes such a location literally: nothing in it is escaped.
func (s *S3) URL(key string) string { return "s3://" + s.bucket + "/" + s.prefix + key }

// Key is the inverse of URL.
func (s *S3) Key(location string) (string, bool) {
	key, ok := strings.CutPrefix(location, s.URL(""))
	if !ok || checkKey(key) != nil {
		return "", false
	}
	return key, true
}

// EngineProperties implements EngineConfigured.
func (s *S3) EngineProperties() map[string]string { return s.props }

// Close gives idle connections up.
func (s *S3) Close() error {
	if c, ok := s.client.Options().HTTPClient.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	return nil
}
