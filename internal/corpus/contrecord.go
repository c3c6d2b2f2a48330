package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Sizes of WAL (access/xlog_internal.h, access/xlogrecord.h, replication/message.h), bytes.
const (
	walPage      = 8192
	pageHeader   = 24
	segment      = 1 << 20 // of this corpus
	recordHeader = 24
	mainShort    = 2 // XLogRecordDataHeaderShort, of main data up to 255 bytes
	mainLong     = 5
	message      = 24          // xl_logical_message
	messageOwn   = message + 2 // with a prefix of one letter and its end
)

// contrecords has records cross the end of a page from each offset a record can begin at, and the end of a segment; the same in
// a record that a crash cut off; and one large record.
func contrecords(ctx context.Context, m *maker) error {
	conn, err := m.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	w := writer{conn: conn, pages: map[int]bool{}, segments: map[int]bool{}}
	if err := w.exec(ctx, "create table t (id int primary key, t text)", "insert into t select i, md5(i::text) from generate_series(1, 1000) i"); err != nil {
		return err
	}
	for left := 8; left <= walPage-pageHeader; left += 8 {
		if err := w.crossPage(ctx, left); err != nil {
			return err
		}
	}
	// A segment is a lot of WAL: by default each place in a record's header, and some beyond it.
	for left := 8; left <= walPage-pageHeader; left += 8 {
		if m.long || left <= 96 || left%256 == 0 {
			if err := w.crossSegment(ctx, left); err != nil {
				return err
			}
		}
	}
	say("%s: %d messages, from %d offsets over the end of a page, from %d over that of a segment", m.release, w.messages, len(w.pages), len(w.segments))
	if want := (walPage - pageHeader) / 8; len(w.pages) < want {
		return fmt.Errorf("records crossed a page's end from %d offsets, want %d", len(w.pages), want)
	}
	if err := w.exec(ctx, "update t set t = t || 'x'", "checkpoint"); err != nil {
		return err
	}
	for range 3 {
		if err := m.crashInRecord(ctx); err != nil {
			return err
		}
	}
	mib := 32
	if m.long {
		mib = 900 // repeat's limit is 1 GiB
	}
	return m.exec(ctx, fmt.Sprintf("select pg_logical_emit_message(true, 'l', repeat('l', %d))", mib<<20), "update t set t = 'end'")
}

// writer emits messages of chosen sizes and knows where each begins.
type writer struct {
	conn            *pgx.Conn
	messages        int
	pages, segments map[int]bool // bytes left of the page or segment where a record that crosses its end begins
}

func (w *writer) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := w.conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// position is where the next record begins.
func (w *writer) position(ctx context.Context) (int64, error) {
	var text string
	if err := w.conn.QueryRow(ctx, "select (pg_current_wal_insert_lsn() - '0/0')::text", pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// emit writes a record of total bytes, a multiple of 8 and at least the least message's.
func (w *writer) emit(ctx context.Context, total int) error {
	w.messages++
	_, err := w.conn.Exec(ctx, "select pg_logical_emit_message(false, 'm', repeat('c', $1::int))", contentOf(total))
	return err
}

// contentOf is how long a message makes a record of total bytes.
func contentOf(total int) int {
	n := total - recordHeader - mainShort - messageOwn
	if n+messageOwn > 255 {
		n -= mainLong - mainShort
	}
	return max(n, 0)
}

// least is the smallest message's record, bytes, aligned.
const least = (recordHeader + mainShort + messageOwn + 7) &^ 7

// crossPage has a record begin when left bytes are left of a page.
func (w *writer) crossPage(ctx context.Context, left int) error {
	at, err := w.position(ctx)
	// A second message is needed behind a segment's header, which is longer, and where the server wrote something of its own.
	for try := 0; err == nil && try < 3 && walPage-int(at%walPage) != left; try++ {
		free := walPage - int(at%walPage)
		total := free - left
		for total < least {
			total += walPage - pageHeader // so much further, in the next page
		}
		if err = w.emit(ctx, total); err == nil {
			at, err = w.position(ctx)
		}
	}
	if err != nil {
		return err
	}
	w.pages[walPage-int(at%walPage)] = true
	if at/segment != (at+walPage)/segment {
		w.segments[walPage-int(at%walPage)] = true
	}
	return w.emit(ctx, left+least)
}

// crossSegment is crossPage on a segment's last page.
func (w *writer) crossSegment(ctx context.Context, left int) error {
	for {
		at, err := w.position(ctx)
		if err != nil {
			return err
		}
		before := segment - int(at%segment) - walPage // bytes before the last page
		if before < least && before > -walPage/2 {
			return w.crossPage(ctx, left)
		}
		pages := max(before, 0) / walPage
		if err := w.emit(ctx, max(before-(pages+1)*pageHeader, least)); err != nil {
			return err
		}
	}
}

// crashInRecord kills the server while it writes a record of many segments, of which only a part gets into the files. The next
// start says so in the WAL (XLOG_OVERWRITE_CONTRECORD).
func (m *maker) crashInRecord(ctx context.Context) error {
	before, err := m.walBytes()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- m.exec(ctx, fmt.Sprintf("select pg_logical_emit_message(false, 'c', repeat('k', %d))", 256<<20))
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		now, err := m.walBytes()
		if err != nil {
			return err
		}
		if now >= before+8*segment {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("no WAL was written of a large message")
		}
	}
	if err := m.srv.Kill9(); err != nil {
		return err
	}
	if err := <-done; err == nil {
		say("%s: the record was complete before the server was killed", m.release)
	}
	if err := m.srv.Restart(ctx); err != nil {
		return err
	}
	return m.exec(ctx, "update t set t = t || 'y' where id % 3 = 0", "checkpoint")
}

// walBytes is the size of all segments.
func (m *maker) walBytes() (n int64, err error) {
	entries, err := os.ReadDir(filepath.Join(m.srv.DataDir(), "pg_wal"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil && !strings.Contains(e.Name(), ".") {
			n += info.Size()
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return n, err
}
