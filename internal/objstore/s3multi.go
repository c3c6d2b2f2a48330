package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// partBytes is the size of a multipart upload's parts but the last, and the largest object sent in one request. Services
// take 10,000 parts, so that an object may have 156 GiB.
const partBytes = 16 << 20

// partsMax is the number of parts a service takes.
const partsMax = 10_000

// nonceKey is the object metadata by which an upload is known as ours.
const nonceKey = "tarn-upload"

// PutStream writes or replaces an object of unknown size: in one request if it is small, else in parts. Memory: one part.
// A stream that fails leaves no object and no parts, unless the process dies: a lifecycle rule of the bucket
// (AbortIncompleteMultipartUpload) ends such an upload.
func (s *S3) PutStream(ctx context.Context, key string, r io.Reader) (ObjectInfo, error) {
	if err := ctx.Err(); err != nil {
		return ObjectInfo{}, err
	}
	part := make([]byte, partBytes)
	n, err := io.ReadFull(r, part)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return s.put(ctx, key, part[:n], s3.PutObjectInput{})
	case err != nil:
		return ObjectInfo{}, fmt.Errorf("%s: %w", key, err)
	}
	at, err := s.at(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	u := &upload{s: s, key: key, at: at, nonce: rand.Text()}
	if err := u.begin(ctx); err != nil {
		return ObjectInfo{}, err
	}
	info, err := u.send(ctx, part, r)
	if err != nil {
		u.abort(ctx)
	}
	return info, err
}

// upload is one multipart upload.
type upload struct {
	s     *S3
	key   string
	at    *string
	id    *string
	nonce string
	parts []types.CompletedPart
	bytes int64
}

func (u *upload) begin(ctx context.Context) error {
	ctx, cancel := u.s.limited(ctx, 0)
	defer cancel()
	out, err := u.s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &u.s.bucket, Key: u.at, Metadata: map[string]string{nonceKey: u.nonce}, ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return u.s.fail("CreateMultipartUpload", u.key, err)
	}
	u.id = out.UploadId
	return nil
}

// send uploads the first part and what r has after it. buf holds the first part and is used for the others.
func (u *upload) send(ctx context.Context, buf []byte, r io.Reader) (ObjectInfo, error) {
	n := len(buf)
	for n > 0 {
		if err := u.part(ctx, buf[:n]); err != nil {
			return ObjectInfo{}, err
		}
		if n < len(buf) {
			break
		}
		var err error
		if n, err = io.ReadFull(r, buf); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return ObjectInfo{}, fmt.Errorf("%s: %w", u.key, err)
		}
	}
	return u.complete(ctx)
}

func (u *upload) part(ctx context.Context, data []byte) error {
	if len(u.parts) == partsMax {
		return fmt.Errorf("%s: larger than %d parts of %d MiB", u.key, partsMax, partBytes>>20)
	}
	ctx, cancel := u.s.limited(ctx, int64(len(data)))
	defer cancel()
	number := int32(len(u.parts) + 1)
	out, err := u.s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.s.bucket, Key: u.at, UploadId: u.id, PartNumber: &number, Body: bytes.NewReader(data),
		ContentLength: aws.Int64(int64(len(data))), ChecksumAlgorithm: types.ChecksumAlgorithmCrc32,
	})
	if err != nil {
		return u.s.fail("UploadPart", u.key, err)
	}
	u.parts = append(u.parts, types.CompletedPart{ETag: out.ETag, PartNumber: &number, ChecksumCRC32: out.ChecksumCRC32})
	u.bytes += int64(len(data))
	return nil
}

// complete makes the object of its parts. If the answer is lost, the attempt after it finds no such upload: then the object
// that is there says by its nonce whether it is this one.
func (u *upload) complete(ctx context.Context) (ObjectInfo, error) {
	ctx, cancel := u.s.limited(ctx, u.bytes)
	defer cancel()
	out, err := u.s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.s.bucket, Key: u.at, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	}, func(o *s3.Options) { o.HTTPClient = u.s.patient })
	if err == nil {
		return ObjectInfo{Key: u.key, Size: u.bytes, ETag: aws.ToString(out.ETag), ModTime: serverTime(out.ResultMetadata)}, nil
	}
	err = u.s.fail("CompleteMultipartUpload", u.key, err)
	head, herr := u.s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &u.s.bucket, Key: u.at})
	if herr == nil && head.Metadata[nonceKey] == u.nonce && aws.ToInt64(head.ContentLength) == u.bytes {
		return ObjectInfo{Key: u.key, Size: u.bytes, ETag: aws.ToString(head.ETag), ModTime: aws.ToTime(head.LastModified)}, nil
	}
	return ObjectInfo{}, err
}

// abort frees the parts, also when it is ctx that ended the upload.
func (u *upload) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// What it cannot free now, the bucket's lifecycle rule does.
	_, _ = u.s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.s.bucket, Key: u.at, UploadId: u.id})
}
