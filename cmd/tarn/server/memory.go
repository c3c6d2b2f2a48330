package server

import (
	"os"
	"runtime/debug"
)

// The setting memory is what the process stays below, as the kernel counts it (resident memory). The program's own pages
// come off it first. Of the rest, pages and layers get three eighths, what tables are made with three eighths, metadata that
// the catalog keeps for readers a sixteenth, and what is left is for everything else and for garbage not yet collected.
const (
	pagesShare   = 8.0 / 3
	lakeShare    = 8.0 / 3
	catalogShare = 16
	// programBytes is what the kernel counts of the program's file once most of it has run, which Go's limit does not see.
	programBytes = 68 << 20
	// memoryFloor is what the program needs whatever it is told; a lower limit would make it collect garbage all the time.
	memoryFloor = 184 << 20
)

// dataMemory is memory without the program.
func (s *Server) dataMemory() int64 {
	return max(int64(s.cfg.Memory)-programBytes, int64(s.cfg.Memory)/2)
}

func (s *Server) pagesMemory() int64 {
	return int64(float64(s.dataMemory())/pagesShare) - s.pastMemory()
}

// pastMemory is for former pages that the page service reads, a quarter of what pages have.
func (s *Server) pastMemory() int64 {
	if s.cfg.Pages.Listen == "" {
		return 0
	}
	return int64(float64(s.dataMemory()) / pagesShare / 4)
}

func (s *Server) lakeMemory() int64 { return int64(float64(s.dataMemory()) / lakeShare) }

// branchMemory is for the pages a branch's lake is made from, and again for its tables: of what is left, and seldom.
func (s *Server) branchMemory() int64 { return s.dataMemory() / 16 }

// catalogMemory is for metadata.json objects: each publication leaves one of every table it changed.
func (s *Server) catalogMemory() int64 { return s.dataMemory() / catalogShare }

// limitMemory makes the garbage collector work harder as the process comes near its memory. GOMEMLIMIT wins.
func (s *Server) limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(max(memoryFloor, s.dataMemory()))
	}
}
