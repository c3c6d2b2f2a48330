package objstore

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/tarn-db/tarn/internal/fault"
)

// errS3TooLong is why a call ended that was tried for as long as it may take.
var errS3TooLong = errors.New("tried for as long as one request may take")

// S3Error is a request that failed. It prints as one line: what was asked of which object, the service's answer, and
// what to do where that is known.
type S3Error struct {
	Op     string // such as PutObject
	URL    string // s3://bucket/key
	Status int    // HTTP status, 0 if no answer came
	Code   string // the service's, such as AccessDenied; empty if it gave none
	Err    error
}

// Error implements error.
func (e *S3Error) Error() string {
	msg := fmt.Sprintf("%s %s: %s", e.Op, e.URL, e.reason())
	if fix := e.Fix(); fix != "" {
		msg += ": " + fix
	}
	return oneLine(msg)
}

func oneLine(msg string) string { return strings.Join(strings.Fields(msg), " ") }

// FaultCode implements fault.Coded.
func (e *S3Error) FaultCode() fault.Code {
	switch e.Code {
	case "NoSuchBucket":
		return fault.StoreOpen
	case "AccessDenied", "Forbidden", "AllAccessDisabled":
		return fault.StoreDenied
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "ExpiredTokenException":
		return fault.StoreCredentials
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "MovedPermanently", "IllegalLocationConstraintException":
		return fault.StoreRegion
	}
	switch {
	case e.noCredentials():
		return fault.StoreCredentials
	case e.Status == 0:
		return fault.StoreUnreachable
	}
	return fault.StoreFailed
}

// noCredentials says whether the SDK found none to sign the request with.
func (e *S3Error) noCredentials() bool {
	return strings.Contains(e.Err.Error(), "failed to retrieve credentials") || strings.Contains(e.Err.Error(), "get credentials")
}

// Unwrap gives the SDK's error.
func (e *S3Error) Unwrap() error { return e.Err }

func (e *S3Error) reason() string {
	var api smithy.APIError
	if errors.As(e.Err, &api) && e.Code != "" {
		if m := api.ErrorMessage(); m != "" && m != e.Code {
			return fmt.Sprintf("%s (%d %s)", strings.TrimSuffix(m, "."), e.Status, e.Code)
		}
		return fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	var sent *url.Error
	if errors.As(e.Err, &sent) { // no answer came: the connection's error says why, without the request's URL
		return sent.Err.Error()
	}
	var op *smithy.OperationError
	if errors.As(e.Err, &op) {
		return op.Err.Error() // without the SDK's own name of the operation
	}
	return e.Err.Error()
}

// Fix says what to do about errors that have one cure; else it is empty.
func (e *S3Error) Fix() string {
	switch e.Code {
	case "NoSuchBucket":
		return "make the bucket, or name another with --store"
	case "AccessDenied", "Forbidden", "AllAccessDisabled":
		return "give tarn's credentials s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on the prefix and s3:ListBucket on the bucket"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or s3: in tarn.yaml"
	case "ExpiredToken", "InvalidToken", "ExpiredTokenException":
		return "renew AWS_SESSION_TOKEN, or give tarn a role it can renew itself"
	case "RequestTimeTooSkewed":
		return "set this machine's clock by NTP"
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "MovedPermanently", "IllegalLocationConstraintException":
		return "set AWS_REGION or s3.region to the bucket's region"
	case "NotImplemented", "MethodNotAllowed":
		return "tarn needs a store that supports this request"
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage":
		return "give the store more room"
	}
	if e.noCredentials() {
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or s3: in tarn.yaml"
	}
	return ""
}

// fail turns an error of the SDK into the store's. Only an object's own absence is ErrNotFound: a bucket that is not there
// is an error of its own.
func (s *S3) fail(op, key string, err error) error {
	if err == nil {
		return nil
	}
	e := sdkError(op, s.URL(key), err)
	switch {
	case e.Code == "PreconditionFailed", e.Status == http.StatusPreconditionFailed:
		return precondition(key, "the store has another version, or has one")
	case e.Code == "NoSuchKey", e.Code == "NotFound", e.Status == http.StatusNotFound && e.Code == "":
		return notFound(key)
	}
	return e
}

// sdkError reads an error of the SDK.
func sdkError(op, url string, err error) *S3Error {
	e := &S3Error{Op: op, URL: url, Err: err}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.ResponseError != nil && answer.Response != nil {
		e.Status = answer.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code = api.ErrorCode()
	}
	return e
}

// isCode says whether err is the service's answer with that code.
func isCode(err error, code string) bool {
	var e *S3Error
	return errors.As(err, &e) && e.Code == code
}

// isCutOff says whether a connection ended in the midst of an answer or a request.
func isCutOff(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "server closed idle connection")
}
