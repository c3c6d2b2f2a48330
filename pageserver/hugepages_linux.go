package pageserver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// adviseHugePages asks the kernel to back b with huge pages: redo touches page memory for the first time as fast as WAL
// comes in, and a fault each 4 KiB is a tenth of its CPU time. It is advice; a kernel that has none of them left, or is
// told not to, goes on as ever.
func adviseHugePages(b []byte) {
	page := uintptr(unix.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := (page - start%page) % page
	if end := (uintptr(len(b)) - skip) / page * page; skip < uintptr(len(b)) && end > 0 {
		_ = unix.Madvise(b[skip:skip+end], unix.MADV_HUGEPAGE)
	}
}
