// Package fault numbers every failure a user can meet. A code is stable: scripts, alerts and search engines hold on to
// it, so a number is never given away twice and a retired one is never used again. The registry says for each code what
// it means, where it comes from and what to do; docs/ERRORS.md and `tarn errors` are printed from it.
//
// Packages keep their own typed errors and sentinels: an error has a code if it, or something it wraps, has a method
// FaultCode. The outermost code wins, as it was added by the one who knew most about what was being done.
package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Code is the number of one kind of failure. It prints as TARN-0203.
type Code uint16

const prefix = "TARN-"

func (c Code) String() string { return fmt.Sprintf(prefix+"%04d", uint16(c)) }

// MarshalText prints the code in JSON and logs.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Parse reads a code as a user may write it: TARN-0203, tarn-203, 0203 or 203.
func Parse(s string) (Code, bool) {
	digits := s
	if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		digits = s[len(prefix):]
	}
	n, err := strconv.ParseUint(digits, 10, 14)
	if err != nil {
		return 0, false
	}
	_, ok := Lookup(Code(n))
	return Code(n), ok
}

// Coded is an error that knows its code.
type Coded interface {
	error
	FaultCode() Code
}

// CodeOf gives an error's code: the outermost in its chain, Unexpected if none has one, 0 for nil.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	var c Coded
	if errors.As(err, &c) {
		if code := c.FaultCode(); code != 0 {
			return code
		}
	}
	return Unexpected
}

// Error is an error with a code.
type Error struct {
	Code Code
	Err  error // what it prints as
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the error without its code.
func (e *Error) Unwrap() error { return e.Err }

// FaultCode implements Coded.
func (e *Error) FaultCode() Code { return e.Code }

// New makes an error with a code, such as a package's sentinel.
func New(code Code, text string) error { return &Error{code, errors.New(text)} }

// Errorf is fmt.Errorf with a code; it wraps what fmt.Errorf wraps.
func Errorf(code Code, format string, args ...any) error {
	return &Error{code, fmt.Errorf(format, args...)}
}

// Or gives a code to an error that has none yet.
func Or(code Code, err error) error {
	if err == nil || CodeOf(err) != Unexpected {
		return err
	}
	return &Error{code, err}
}
