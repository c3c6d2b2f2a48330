package objstore

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// copyObjectMax is the largest object that a service copies in one request, bytes.
const copyObjectMax = 5 << 30

// copyFrom has the service copy an object of this bucket or another one of the same service. That needs s3:GetObject there
// and s3:PutObject here.
func (s *S3) copyFrom(ctx context.Context, src Store, from, to string) (ObjectInfo, error) {
	other, ok := src.(*S3)
	if !ok || other.props["s3.endpoint"] != s.props["s3.endpoint"] {
		return ObjectInfo{}, errCannotCopy
	}
	head, err := other.Head(ctx, from)
	if err != nil {
		return ObjectInfo{}, err
	}
	if head.Size > copyObjectMax {
		return ObjectInfo{}, errCannotCopy
	}
	at, err := s.at(to)
	if err != nil {
		return ObjectInfo{}, err
	}
	ctx, cancel := s.limited(ctx, head.Size)
	defer cancel()
	out, err := s.client.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &s.bucket, Key: at, CopySource: aws.String(copySource(other.bucket, other.prefix+from)), CopySourceIfMatch: &head.ETag,
	}, func(o *s3.Options) { o.HTTPClient = s.patient })
	if err = s.fail("CopyObject", to, err); errors.Is(err, ErrNotFound) {
		err = notFound(from) // it left meanwhile
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	info := ObjectInfo{Key: to, Size: head.Size, ModTime: serverTime(out.ResultMetadata)}
	if out.CopyObjectResult != nil {
		info.ETag = aws.ToString(out.CopyObjectResult.ETag)
	}
	return info, nil
}

// copySource is bucket/key as the header x-amz-copy-source wants it, in which a + would be read as a blank.
func copySource(bucket, key string) string {
	parts := strings.Split(key, "/")
	for i := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(parts[i]), "+", "%20")
	}
	return bucket + "/" + strings.Join(parts, "/")
}
