package basebackup

import "io"

// Target is where a directory is written: a Directory, or a Tar. Names are from the data directory, with slashes; a folder comes before
// what is in it.
type Target interface {
	// links says whether tablespaces can be elsewhere than in the data directory.
	links() bool
	// begin refuses what is in the way. Nothing is there before it that abort does not remove.
	begin(tablespaces []Tablespace) error
	folder(name string) error
	// link makes a link to a folder, which is made too.
	link(name, to string) error
	// file begins a file; it is closed before the next call.
	file(name string, size int64) (io.WriteCloser, error)
	// sync returns when all files that are there are durable.
	sync() error
	// finish returns when the last file is too.
	finish() error
	abort() error
}
