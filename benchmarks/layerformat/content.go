package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

// entry is a key and its value.
type entry struct {
	key   key.Key
	value []byte
}

// readPages reads main forks of a data directory's databases, in the order of their keys, up to some bytes of each and in all.
func readPages(dataDir string, each, total int) (entries []entry, err error) {
	names, err := filepath.Glob(filepath.Join(dataDir, "base", "*", "*"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		rel, err1 := strconv.ParseUint(filepath.Base(name), 10, 32)
		db, err2 := strconv.ParseUint(filepath.Base(filepath.Dir(name)), 10, 32)
		if err1 != nil || err2 != nil || total < pg.BlockSize {
			continue // another fork, a later segment, or something else
		}
		b, err := readStart(name, min(each, total))
		if err != nil {
			return nil, err
		}
		total -= len(b)
		loc := pg.RelFileLocator{Spc: 1663, DB: pg.OID(db), Rel: pg.OID(rel)}
		for blk := range len(b) / pg.BlockSize {
			page := b[blk*pg.BlockSize:][:pg.BlockSize]
			if bytes.Count(page, []byte{0}) == len(page) {
				continue // never initialised
			}
			entries = append(entries, entry{key.OfBlock(loc, pg.MainFork, pg.BlockNumber(blk)), page})
		}
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s has no pages: want a data directory", dataDir)
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.key.Compare(b.key) })
	return entries, nil
}

func readStart(name string, n int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	n, err = io.ReadFull(f, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return b[:n-n%pg.BlockSize], err
}

// deltas are what a delta layer has: for a third of the blocks of a relation of forty times the pages, chains of the LSNs of the records
// that change the page, as package delta writes them, short for most and long for a hot one; and of the pages one in thirty, by number.
func deltas(pages []entry) (out []entry) {
	rng := rand.New(rand.NewPCG(3, 4))
	loc := pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}
	for blk := range 40 * len(pages) {
		if rng.IntN(3) != 0 {
			continue
		}
		n := 1 + rng.IntN(6)
		if rng.IntN(50) == 0 {
			n = 100
		}
		var records []byte
		for range n {
			records = binary.AppendUvarint(records, rng.Uint64N(1<<20)*4)
		}
		chain := binary.AppendUvarint(nil, rng.Uint64N(1<<24))
		chain = binary.AppendUvarint(chain, uint64(len(records)))
		out = append(out, entry{key.OfBlock(loc, pg.MainFork, pg.BlockNumber(blk)), append(chain, records...)})
	}
	for i := 0; i < len(pages); i += 30 {
		out = append(out, entry{key.OfImage(uint32(i / 30)), pages[i].value})
	}
	return out
}

// source is a table's file, and counts what is asked of it as if it were an object in a store.
type source struct {
	*os.File
	size            int64
	requests, bytes int64
}

func openSource(path string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &source{File: f, size: st.Size()}, nil
}

// read is a ranged read.
func (s *source) read(p []byte, off int64) error {
	s.requests++
	s.bytes += int64(len(p))
	_, err := s.ReadAt(p, off)
	return err
}

func (s *source) close() { _ = s.Close() }
