// Package sorter puts records in the order of their keys within a bound of memory: what does not fit is sorted and written to a local
// file, and merged when the records are read.
package sorter

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Sorter gathers records and gives them back in order. One goroutine uses it.
//
// Invariant: records holds, and rows names the place of, exactly what is in no run yet.
type Sorter struct {
	dir      string
	maxBytes int

	records []byte // key length u32, value length u32, key, value; little-endian
	rows    []int  // where records begin
	runs    []*os.File
}

const headSize = 8

// rowBytes is what the place of a record takes.
const rowBytes = 8

// New makes a sorter that holds at most maxBytes, or one record, in memory, and puts the rest into files in dir that have no name. An
// empty dir is the system's own for such files.
func New(dir string, maxBytes int64) *Sorter { return &Sorter{dir: dir, maxBytes: int(maxBytes)} }

// Empty says that no record was added since the last Each.
func (s *Sorter) Empty() bool { return len(s.rows) == 0 && len(s.runs) == 0 }

// Add takes a copy of a record. Records of equal keys come in any order.
func (s *Sorter) Add(key, value []byte) error {
	if size := headSize + len(key) + len(value); len(s.rows) > 0 && len(s.records)+size+rowBytes*len(s.rows) > s.maxBytes {
		if err := s.spill(); err != nil {
			return fmt.Errorf("sorting rows: %w", err)
		}
	}
	s.rows = append(s.rows, len(s.records))
	s.records = binary.LittleEndian.AppendUint32(s.records, uint32(len(key)))
	s.records = binary.LittleEndian.AppendUint32(s.records, uint32(len(value)))
	s.records = append(append(s.records, key...), value...)
	return nil
}

// split is the key and the value of the record that begins b.
func split(b []byte) (key, value []byte) {
	k, v := int(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint32(b[4:]))
	b = b[headSize:]
	return b[:k], b[k : k+v]
}

func (s *Sorter) sort() {
	slices.SortFunc(s.rows, func(a, b int) int {
		x, _ := split(s.records[a:])
		y, _ := split(s.records[b:])
		return bytes.Compare(x, y)
	})
}

// spill writes what is in memory as a run.
func (s *Sorter) spill() error {
	s.sort()
	f, err := os.CreateTemp(s.dir, "sort-*")
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	if err := os.Remove(f.Name()); err != nil { // nothing is left of it, however the process ends
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	for _, at := range s.rows {
		k, v := split(s.records[at:])
		if _, err := w.Write(s.records[at : at+headSize+len(k)+len(v)]); err != nil {
			return err
		}
	}
	s.records, s.rows = s.records[:0], s.rows[:0]
	return w.Flush()
}

// run is a source of records in order.
type run struct {
	r          *bufio.Reader
	key, value []byte
	buf        []byte
}

// next reads a record; io.EOF ends the run.
func (r *run) next() error {
	var head [headSize]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return err
	}
	k, v := int(binary.LittleEndian.Uint32(head[:])), int(binary.LittleEndian.Uint32(head[4:]))
	r.buf = slices.Grow(r.buf[:0], k+v)[:k+v]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return fmt.Errorf("reading back: %w", io.ErrUnexpectedEOF)
	}
	r.key, r.value = r.buf[:k], r.buf[k:]
	return nil
}

// Each calls yield for every record in the order of keys, and forgets them all, on an error too. What yield is given is good until it
// returns.
func (s *Sorter) Each(yield func(key, value []byte) error) (err error) {
	defer func() { err = errors.Join(err, s.Close()) }()
	if len(s.runs) == 0 {
		s.sort()
		for _, at := range s.rows {
			if err := yield(split(s.records[at:])); err != nil {
				return err
			}
		}
		return nil
	}
	if len(s.rows) > 0 {
		if err := s.spill(); err != nil {
			return fmt.Errorf("sorting rows: %w", err)
		}
	}
	s.records = nil // what is merged takes memory elsewhere
	return s.merge(yield)
}

// merge reads the runs side by side. They are few: each is as large as the memory there is.
func (s *Sorter) merge(yield func(key, value []byte) error) error {
	var runs []*run
	advance := func(r *run) (bool, error) {
		switch err := r.next(); {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("sorting rows: %w", err)
		}
		return true, nil
	}
	for _, f := range s.runs {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("sorting rows: %w", err)
		}
		r := &run{r: bufio.NewReaderSize(f, 1<<16)}
		if ok, err := advance(r); err != nil {
			return err
		} else if ok {
			runs = append(runs, r)
		}
	}
	for len(runs) > 0 {
		first := 0
		for i := range runs {
			if bytes.Compare(runs[i].key, runs[first].key) < 0 {
				first = i
			}
		}
		if err := yield(runs[first].key, runs[first].value); err != nil {
			return err
		}
		if ok, err := advance(runs[first]); err != nil {
			return err
		} else if !ok {
			runs = slices.Delete(runs, first, first+1)
		}
	}
	return nil
}

// Close forgets every record.
func (s *Sorter) Close() error {
	var errs []error
	for _, f := range s.runs {
		errs = append(errs, f.Close())
	}
	s.runs, s.rows, s.records = nil, s.rows[:0], s.records[:0]
	return errors.Join(errs...)
}
