package pgtest

import "os"

// Long says whether `make test-long` runs: every major, larger corpora and more rounds than fit beside each push.
func Long() bool { return os.Getenv("TARN_LONG") != "" }

// Majors are the versions that tests start servers of: the oldest and the newest, and all four in a long run.
func Majors() []int {
	if Long() {
		return []int{15, 16, 17, 18}
	}
	return []int{15, 18}
}
