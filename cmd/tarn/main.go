// Command tarn turns the WAL of a stock PostgreSQL into Iceberg tables. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
)

// Exit codes, which scripts depend on.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // usage or configuration
	exitTimeout = 3 // timed out waiting
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run does one command line and gives its exit code. Data goes to stdout, words to stderr.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the command cleanly. It also gives signals their default effect back, so a second kills.
	context.AfterFunc(ctx, stop)

	root := rootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := exitCode(err)
	switch {
	case code == exitDone:
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "tarn: interrupted")
	default:
		fmt.Fprintf(stderr, "tarn: %s: %s\n", fault.CodeOf(err), oneLine(err.Error()))
	}
	return code
}

// usageError is a command line that makes no sense as written.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

// FaultCode implements fault.Coded.
func (e *usageError) FaultCode() fault.Code { return fault.Usage }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

func exitCode(err error) int {
	var usage *usageError
	var cfg *config.Error
	var server *admin.ServerError
	var attach *receive.AttachError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.As(err, &cfg):
		return exitUsage
	case errors.As(err, &server) && server.Code/100 == 4 && server.Code != 404 && server.Code != 409:
		return exitUsage
	case errors.As(err, &attach) && (attach.Code == receive.CodeURL || attach.Code == receive.CodeSlotName):
		return exitUsage
	case errors.Is(err, admin.ErrTimeout):
		return exitTimeout
	}
	return exitFailed
}

// oneLine keeps an error to one line of text: libraries put more into theirs, and a terminal would obey control
// characters that came from a server.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
