package objstore

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
)

// ErrScheme: the store's URL has a scheme that no store of this build answers to.
var ErrScheme = fault.New(fault.StoreURL, "unsupported store URL")

// Options are what a store's URL does not say.
type Options struct {
	S3 S3Options
}

// Open opens the store a URL names. file:///dir is a directory, made if it is not there; s3://bucket/prefix is a part of a
// bucket, which must be there.
func Open(ctx context.Context, rawURL string, o Options) (Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrScheme, rawURL, err)
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path) {
			return nil, fmt.Errorf("%w %q: want file:///absolute/dir", ErrScheme, rawURL)
		}
		return OpenDir(u.Path)
	case "s3":
		if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Port() != "" {
			return nil, fmt.Errorf("%w %q: want s3://bucket/prefix", ErrScheme, u.Redacted())
		}
		s, err := OpenS3(ctx, u.Host, u.Path, o.S3)
		if err != nil {
			return nil, err
		}
		return s, nil
	case "":
		return nil, fmt.Errorf("%w %q: it has no scheme; write file:///absolute/dir or s3://bucket/prefix", ErrScheme, rawURL)
	}
	return nil, fmt.Errorf("%w %q: scheme %s is not known; use file:///dir or s3://bucket/prefix", ErrScheme, u.Redacted(), u.Scheme)
}

// keyLengthMax bounds a key as S3 does, bytes.
const keyLengthMax = 1024

// checkKey refuses keys that some store could not hold or that would leave a directory store's root.
func checkKey(key string) error {
	bad := func(why string) error { return fmt.Errorf("object key %q: %s", key, why) }
	switch {
	case key == "":
		return bad("empty")
	case len(key) > keyLengthMax:
		return bad("longer than 1024 bytes")
	case strings.ContainsAny(key, "\x00\\"):
		return bad("holds a NUL or a backslash")
	case key == privateDir || strings.HasPrefix(key, privateDir+"/"):
		return bad("reserved for the store itself")
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return bad("has an empty or dot component")
		}
	}
	return nil
}

func notFound(key string) error { return fmt.Errorf("%s: %w", key, ErrNotFound) }

func precondition(key, why string) error { return fmt.Errorf("%s: %w: %s", key, ErrPrecondition, why) }
