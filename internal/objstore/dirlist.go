package objstore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List walks the folders in key order: a folder sorts by its name and a slash, for "a-b" comes before "a/b".
func (d *Dir) List(ctx context.Context, prefix string, fn func(ObjectInfo) error) error {
	// Only folders whose path agrees with the prefix can hold matches.
	base := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		base = prefix[:i+1]
		if err := checkKey(strings.TrimSuffix(base, "/")); err != nil {
			return err
		}
	}
	return d.walk(ctx, base, prefix, fn)
}

// walk lists the folder whose keys begin with base, which is "" or ends in a slash.
func (d *Dir) walk(ctx context.Context, base, prefix string, fn func(ObjectInfo) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(d.root, filepath.FromSlash(base)))
	if err != nil {
		if err := fileError(base, err); !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key := base + e.Name()
		if e.IsDir() {
			key += "/"
		}
		if key == privateDir+"/" || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key) {
			continue
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if strings.HasSuffix(key, "/") {
			err = d.walk(ctx, key, prefix, fn)
		} else if strings.HasPrefix(key, prefix) {
			err = d.visit(key, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Dir) visit(key string, fn func(ObjectInfo) error) error {
	st, err := os.Stat(filepath.Join(d.root, filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return nil // deleted while the folder was read
	}
	if err != nil {
		return fileError(key, err)
	}
	return fn(infoOf(key, st))
}
