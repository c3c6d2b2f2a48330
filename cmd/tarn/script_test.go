package main

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tarn": main})
}

// TestScripts runs testdata/script: each is a session at a shell, with what it must print and how it must end.
// Commands beside testscript's own: `exits CODE tarn ...` checks the code and that stderr is one line;
// `takeport VAR` listens on a port and names it; `lock FILE` holds a file's lock; `admin VAR` serves the admin API,
// `secureadmin VAR DIR` behind TLS and a token;
// `walfolder MAJOR DIR` and `walarchive MAJOR DIR` write recorded WAL, `lake DIR` a lake with one table.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":       cmdExits,
			"takeport":    cmdTakePort,
			"lock":        cmdLock,
			"admin":       cmdAdmin,
			"secureadmin": cmdSecureAdmin,
			"walfolder":   cmdWALFolder,
			"walarchive":  cmdWALArchive,
			"lake":        cmdLake,
		},
	})
}

func cmdTakePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: takeport VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

func cmdLock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lock FILE")
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
	f, err := os.Create(path)
	ts.Check(err)
	ts.Check(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	ts.Defer(func() { f.Close() })
}
