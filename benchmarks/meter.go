package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// meter sums up the CPU time of a server's processes, those that end on the way as they were last seen.
type meter struct {
	pid     int
	first   map[int]time.Duration
	last    map[int]time.Duration
	senders map[int]bool
}

func meterServer(srv *pgtest.Server) *meter {
	text := firstLine(filepath.Join(srv.DataDir(), "postmaster.pid"))
	m := &meter{first: map[int]time.Duration{}, last: map[int]time.Duration{}, senders: map[int]bool{}}
	_, _ = fmt.Sscan(text, &m.pid)
	m.look()
	m.first = m.last
	m.last = map[int]time.Duration{}
	return m
}

func (m *meter) look() {
	for _, pid := range descendants(m.pid) {
		cpu, err := processCPU(pid)
		if err != nil {
			continue
		}
		m.last[pid] = cpu
		if isWalsender(pid) {
			m.senders[pid] = true
		}
	}
}

func (m *meter) used() (all, senders time.Duration) {
	m.look()
	for pid, cpu := range m.last {
		all += cpu - m.first[pid]
		if m.senders[pid] {
			senders += cpu - m.first[pid]
		}
	}
	return all, senders
}
