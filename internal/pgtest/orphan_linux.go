package pgtest

import "syscall"

// dieWithUs makes the kernel tell a server to end at once when the process that started it has died, of a test's time limit
// or a kill, and cannot stop it itself.
func dieWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.Signal(Immediate) }
