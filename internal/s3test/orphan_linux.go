package s3test

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the server end with a test process that was killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
