package server

import (
	"os"
	"runtime/debug"
)

// The setting memory is what the process aims to stay below. Pages and layers get three eighths of it, what tables are
// made with three eighths, and the rest is for everything else and for garbage not yet collected.
const (
	pagesShare = 8.0 / 3
	lakeShare  = 8.0 / 3
	// memoryFloor is what the program needs whatever it is told; a lower limit would make it collect garbage all the time.
	memoryFloor = 192 << 20
)

func (s *Server) pagesMemory() int64 { return int64(float64(s.cfg.Memory) / pagesShare) }
func (s *Server) lakeMemory() int64  { return int64(float64(s.cfg.Memory) / lakeShare) }

// limitMemory makes the garbage collector work harder as the process comes near its memory. GOMEMLIMIT wins.
func (s *Server) limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(max(memoryFloor, int64(s.cfg.Memory)))
	}
}
