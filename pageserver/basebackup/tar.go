package basebackup

import (
	"archive/tar"
	"io"
	"time"
)

// Tar is the target of a stream to W: one archive of the data directory, which is whole when it is unpacked. pg_control is its last
// file: what was cut off before it does not start.
//
// Tablespaces are in place, as folders pg_tblspc/OID. pg_basebackup has an archive of each instead, which one stream cannot have. To put
// one elsewhere, move its folder before the server is first started, and put a symbolic link where it was.
type Tar struct {
	W io.Writer

	tw *tar.Writer
}

func (t *Tar) links() bool { return false }

func (t *Tar) begin([]Tablespace) error {
	t.tw = tar.NewWriter(t.W)
	return nil
}

func (t *Tar) header(name string, kind byte, mode, size int64) error {
	return t.tw.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: time.Now().Truncate(time.Second)})
}

func (t *Tar) folder(name string) error { return t.header(name+"/", tar.TypeDir, folderMode, 0) }

func (t *Tar) link(string, string) error { panic("BUG: a link in a tar stream") }

// tarFile is the file under way; the next header ends it.
type tarFile struct{ *tar.Writer }

func (tarFile) Close() error { return nil }

func (t *Tar) file(name string, size int64) (io.WriteCloser, error) {
	return tarFile{t.tw}, t.header(name, tar.TypeReg, fileMode, size)
}

func (t *Tar) sync() error   { return t.tw.Flush() }
func (t *Tar) finish() error { return t.tw.Close() }

// abort leaves the stream cut, so that whoever reads it knows.
func (t *Tar) abort() error { return nil }
