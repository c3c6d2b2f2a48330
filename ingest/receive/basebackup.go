package receive

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tarn-db/tarn/internal/pg"
)

// BaseFile is one regular file of a base backup.
type BaseFile struct {
	Tablespace pg.OID      // 0 for the data directory itself, which holds pg_default and pg_global
	Path       string      // relative to the data directory or tablespace, such as base/5/1259
	Mode       fs.FileMode // permission bits
	Size       int64       // bytes the Reader gives
	Reader     io.Reader   // valid until the callback returns; what it leaves unread is skipped
}

// Tablespace is one row of the backup's header. OID 0 is the data directory.
type Tablespace struct {
	OID      pg.OID
	Location string
	Size     int64 // bytes, the server's estimate
}

// BackupOptions are the callbacks of a base backup.
type BackupOptions struct {
	// File takes each regular file in the order the server sends them.
	File func(BaseFile) error
	// Progress, if set, is called now and then with bytes received and expected in all.
	Progress func(done, total int64)
}

// Backup describes a finished base backup. A page of it can be trusted only at or above End, once the WAL from Start
// on has been redone over it; below End it may be torn or ahead of its neighbours.
type Backup struct {
	Start       pg.LSN // redo position of the checkpoint it began with
	End         pg.LSN
	Timeline    pg.TimelineID
	Tablespaces []Tablespace
	Bytes       int64 // of tar streams received
}

// How long the server may send nothing: while it makes its checkpoint, and once files come.
const (
	checkpointSilence = time.Hour
	backupSilence     = 5 * time.Minute
)

// BaseBackup copies the cluster's files through File. The server sends no WAL with them: stream that beside it, from
// before Start. An error of File ends it and is returned.
func BaseBackup(ctx context.Context, src Source, opt BackupOptions) (Backup, error) {
	conn, err := connect(ctx, src)
	if err != nil {
		return Backup{}, err
	}
	defer closeConn(conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetDeadline(time.Unix(1, 0)) })
	defer stop()
	b := &backupReader{ctx: ctx, conn: conn.Conn(), f: conn.Frontend(), opt: opt, silence: checkpointSilence}
	b.f.Send(&pgproto3.Query{String: "BASE_BACKUP (LABEL 'tarn', PROGRESS true, CHECKPOINT 'fast', WAIT false, MANIFEST 'no', TABLESPACE_MAP true)"})
	if err = b.f.Flush(); err == nil {
		err = b.run()
	}
	if err != nil {
		if ctx.Err() != nil {
			return b.backup, ctx.Err()
		}
		return b.backup, fmt.Errorf("base backup: %w", err)
	}
	return b.backup, nil
}

// backupReader walks the answer to BASE_BACKUP (protocol-replication, 15 and later): a row with start LSN and timeline;
// a row per tablespace; one COPY OUT whose messages are
//
//	'n' name cstring, tablespace path cstring: a new tar archive
//	'd' tar bytes
//	'p' int64: bytes done
//	'm' manifest follows (not asked for)
//
// and a row with the end LSN and timeline. It is the io.Reader of the archive under way.
type backupReader struct {
	ctx     context.Context
	conn    net.Conn
	f       *pgproto3.Frontend
	opt     BackupOptions
	silence time.Duration // how long the server may send nothing
	backup  Backup
	total   int64  // bytes expected
	rest    []byte // of the last 'd' message
	next    []byte // an 'n' message that ended the archive before it; nil otherwise
	done    bool   // CopyDone was seen
}

func (b *backupReader) run() error {
	if err := b.header(); err != nil {
		return err
	}
	for {
		name, more, err := b.archive()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		oid, err := archiveOID(name)
		if err != nil {
			return err
		}
		if err := b.files(oid); err != nil {
			return err
		}
	}
	return b.trailer()
}

// header reads the two result sets before the COPY.
func (b *backupReader) header() error {
	for set := 0; ; {
		msg, err := b.receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.RowDescription:
			set++
		case *pgproto3.DataRow:
			if set == 1 {
				b.backup.Start, b.backup.Timeline, err = position(m.Values)
			} else {
				err = b.tablespace(m.Values)
			}
			if err != nil {
				return err
			}
		case *pgproto3.CopyOutResponse:
			b.silence = backupSilence
			return nil
		case *pgproto3.ReadyForQuery:
			return errors.New("the server ended it before sending files")
		}
	}
}

// tablespace reads spcoid, spclocation, size in kB; oid and location are NULL for the data directory.
func (b *backupReader) tablespace(v [][]byte) error {
	if len(v) < 3 {
		return fmt.Errorf("tablespace row of %d columns", len(v))
	}
	t := Tablespace{Location: string(v[1])}
	if v[0] != nil {
		oid, err := strconv.ParseUint(string(v[0]), 10, 32)
		if err != nil {
			return fmt.Errorf("spcoid: %w", err)
		}
		t.OID = pg.OID(oid)
	}
	if v[2] != nil {
		kb, err := strconv.ParseInt(string(v[2]), 10, 48)
		if err != nil {
			return fmt.Errorf("size: %w", err)
		}
		t.Size = kb << 10
	}
	b.total += t.Size
	b.backup.Tablespaces = append(b.backup.Tablespaces, t)
	return nil
}

// archive moves to the next 'n' message.
func (b *backupReader) archive() (name string, more bool, err error) {
	for b.next == nil && !b.done {
		if _, err := b.fill(); err != nil && err != io.EOF { // padding after the archive's last file
			return "", false, err
		}
		b.rest = nil
	}
	if b.next == nil {
		return "", false, nil
	}
	n, _, ok := bytes.Cut(b.next, []byte{0})
	b.next = nil
	if !ok {
		return "", false, errors.New("archive name without end")
	}
	return string(n), true, nil
}

// archiveOID reads the archive's name: base.tar or <tablespace oid>.tar.
func archiveOID(name string) (pg.OID, error) {
	stem, ok := strings.CutSuffix(name, ".tar")
	if ok && stem == "base" {
		return 0, nil
	}
	oid, err := strconv.ParseUint(stem, 10, 32)
	if !ok || err != nil {
		return 0, fmt.Errorf("archive %q is neither base.tar nor a tablespace's", name)
	}
	return pg.OID(oid), nil
}

// files gives the archive's regular files to the callback.
func (b *backupReader) files(oid pg.OID) error {
	tr := tar.NewReader(b)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tablespace %d: tar: %w", oid, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		path := strings.TrimPrefix(h.Name, "./")
		if !fs.ValidPath(path) {
			return fmt.Errorf("tablespace %d: file name %q leaves its folder", oid, h.Name)
		}
		if err := b.opt.File(BaseFile{Tablespace: oid, Path: path, Mode: h.FileInfo().Mode().Perm(), Size: h.Size, Reader: tr}); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
}

// Read gives the tar bytes of the archive under way, io.EOF at its end.
func (b *backupReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.next != nil || b.done {
			return 0, io.EOF
		}
		if _, err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// fill takes one message of the COPY; io.EOF when it ended the archive.
func (b *backupReader) fill() (n int, err error) {
	msg, err := b.receive()
	if err != nil {
		return 0, err
	}
	switch m := msg.(type) {
	case *pgproto3.CopyDone:
		b.done = true
		return 0, io.EOF
	case *pgproto3.CopyData:
		if len(m.Data) == 0 {
			return 0, errors.New("an empty message in the COPY")
		}
		body := m.Data[1:]
		switch m.Data[0] {
		case 'd':
			b.rest = body // valid until the next receive, which comes only when it is used up
			b.backup.Bytes += int64(len(body))
			return len(body), nil
		case 'n':
			b.next = bytes.Clone(body)
			return 0, io.EOF
		case 'p':
			if len(body) >= 8 && b.opt.Progress != nil {
				b.opt.Progress(int64(binary.BigEndian.Uint64(body)), b.total)
			}
			return 0, nil
		}
		return 0, fmt.Errorf("message %q in the COPY", m.Data[0])
	case *pgproto3.ReadyForQuery:
		return 0, errors.New("the server ended it amid the files")
	}
	return 0, nil
}

// trailer reads the end position and waits until the server is done.
func (b *backupReader) trailer() error {
	seen := false
	for {
		msg, err := b.receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.DataRow:
			end, tli, err := position(m.Values)
			if err != nil {
				return err
			}
			if tli != b.backup.Timeline {
				return fmt.Errorf("it began on timeline %d and ended on %d", b.backup.Timeline, tli)
			}
			b.backup.End, seen = end, true
		case *pgproto3.ReadyForQuery:
			if !seen {
				return errors.New("the server named no end position")
			}
			if b.opt.Progress != nil {
				b.opt.Progress(b.total, b.total)
			}
			return nil
		}
	}
}

// receive takes one message, turning the server's error into one of ours.
func (b *backupReader) receive() (pgproto3.BackendMessage, error) {
	if err := b.conn.SetReadDeadline(time.Now().Add(b.silence)); err != nil {
		return nil, err
	}
	if b.ctx.Err() != nil { // its deadline may have been the one just replaced
		return nil, b.ctx.Err()
	}
	msg, err := b.f.Receive()
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return nil, fmt.Errorf("nothing from the server for %s: %w", b.silence, err)
	}
	if err != nil {
		return nil, err
	}
	if e, ok := msg.(*pgproto3.ErrorResponse); ok {
		return nil, pgconn.ErrorResponseToPgError(e)
	}
	return msg, nil
}

// position reads a row of recptr and tli.
func position(v [][]byte) (pg.LSN, pg.TimelineID, error) {
	if len(v) < 2 {
		return 0, 0, fmt.Errorf("position row of %d columns", len(v))
	}
	l, err := parseLSN("recptr", v[0])
	if err != nil {
		return 0, 0, err
	}
	tli, err := strconv.ParseUint(string(v[1]), 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("tli: %w", err)
	}
	return l, pg.TimelineID(tli), nil
}
