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

// Releases are the oldest and the newest minor release of each major version that internal/tools/install-postgres knows, in
// order. Minor releases change what is in a WAL record under the same magic number: both ends have to be tested.
func Releases() []string {
	return []string{"15.1", "15.19", "16.0", "16.15", "17.0", "17.11", "18.0", "18.6"}
}
