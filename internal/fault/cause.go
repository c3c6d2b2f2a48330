package fault

import (
	"errors"
	"io/fs"
	"net"
	"os"
)

// Cause strips the operation and path from a system error: whoever reports it names them better.
func Cause(err error) error {
	var pe *fs.PathError
	var ne *net.OpError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &se):
		return se.Err
	case errors.As(err, &ne):
		return ne.Err
	}
	return err
}
