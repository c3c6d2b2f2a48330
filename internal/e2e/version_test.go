package e2e

import (
	"fmt"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Servers that are too old or too new are named with what to attach to. None of these is at hand: a listener that speaks
// enough of the protocol says it is one.
func TestOtherMajorVersions(t *testing.T) {
	for _, version := range []string{"14.19", "19.0", "19devel", "9.6.24"} {
		t.Run(version, func(t *testing.T) {
			addr := fakeServer(t, version)
			newTarn(t, fmt.Sprintf("postgres://replicator@%s/app?sslmode=disable", addr)).mustRefuse([]int{1}, "Postgres "+version, "15, 16, 17 or 18")
		})
	}
}

// fakeServer lets anybody in as a server of a version does, and then answers nothing.
func fakeServer(t *testing.T, version string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			go welcome(conn, version)
		}
	}()
	return l.Addr().String()
}

func welcome(conn net.Conn, version string) {
	defer conn.Close()
	b := pgproto3.NewBackend(conn, conn)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: version})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if b.Flush() == nil {
		_, _ = b.Receive() // until the client goes
	}
}
