package verify

import (
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// stoppedDir is the data directory of a stopped server, with what tells which of its files the WAL has.
type stoppedDir struct {
	*datadir.Dir
	whole    *databases
	forks    []datadir.Fork             // all there are
	unlogged map[pg.RelFileLocator]bool // relations that have an init fork
}

func openStopped(root string) (*stoppedDir, error) {
	dir, err := datadir.Open(root)
	if err != nil {
		return nil, err
	}
	s := &stoppedDir{Dir: dir, unlogged: map[pg.RelFileLocator]bool{}}
	if s.whole, err = wholeDatabases(dir); err == nil {
		s.forks, err = dir.Forks()
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	for _, f := range s.forks {
		if f.Fork == pg.InitFork {
			s.unlogged[f.Rel] = true
		}
	}
	return s, nil
}

// logged says whether a fork's pages are what the WAL says: not those of a free space map, nor of a database that is not whole, and of
// an unlogged relation only what it is reset to after a crash.
func (s *stoppedDir) logged(f datadir.Fork) (bool, error) {
	if f.Fork != pg.InitFork && (f.Fork == pg.FSMFork || s.unlogged[f.Rel]) {
		return false, nil
	}
	return s.whole.has(datadir.Database{Spc: f.Rel.Spc, DB: f.Rel.DB})
}

// loggedForks lists the forks whose pages are in the WAL.
func (s *stoppedDir) loggedForks() (list []datadir.Fork, err error) {
	for _, f := range s.forks {
		ok, err := s.logged(f)
		if err != nil {
			return nil, err
		}
		if ok {
			list = append(list, f)
		}
	}
	return list, nil
}
