package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetchVersions are the releases FetchBin unpacks, by major version.
var fetchVersions = map[int]embeddedpostgres.PostgresVersion{15: "15.19.0", 16: "16.15.0", 17: "17.11.0", 18: "18.6.0"}

// noSuchLocale makes initdb give up at once, without having written anything.
const noSuchLocale = "tarn-fetches-binaries-only"

// FetchBin is Bin, and where that finds nothing it downloads the binaries of that major version into cacheDir (a second
// call finds them there). It is for users who have no Postgres, so for the demo; tests name what they run on.
//
// The library that knows where the binaries are can only start a whole server: it is asked for one with a locale that does
// not exist, so that it downloads, checks and unpacks, and its initdb (which would refuse to run as root anyway) then fails.
// The server is started by Start, as an unprivileged user.
func FetchBin(ctx context.Context, major int, cacheDir string) (string, error) {
	if dir, err := Bin(major); !errors.Is(err, ErrNoBinaries) {
		return dir, err
	}
	version, ok := fetchVersions[major]
	if !ok {
		return "", fmt.Errorf("%w of version %d to download", ErrNoBinaries, major)
	}
	home := filepath.Join(cacheDir, string(version))
	bin := filepath.Join(home, "bin")
	if isExecutable(filepath.Join(home, ".complete")) {
		return bin, nil
	}
	fetched := make(chan error, 1)
	go func() { fetched <- fetch(version, home, cacheDir) }()
	select {
	case err := <-fetched:
		if err != nil {
			return "", fmt.Errorf("%w of version %d here, and the download failed: %w; install Postgres or set TARN_PGBIN", ErrNoBinaries, major, err)
		}
		return bin, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func fetch(version embeddedpostgres.PostgresVersion, home, cacheDir string) error {
	if err := os.RemoveAll(home); err != nil {
		return err
	}
	port, err := FreePort()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "pgfetch")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	defer removeLogs(fetchLogs())
	pg := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(version).Port(uint32(port)).CachePath(cacheDir).BinariesPath(home).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(filepath.Join(scratch, "data")).
		Locale(noSuchLocale).Logger(discard{}))
	startErr := pg.Start()
	if startErr == nil {
		return errors.Join(errors.New("a server started with a locale that does not exist"), pg.Stop())
	}
	for _, program := range []string{"postgres", "initdb"} {
		if !isExecutable(filepath.Join(home, "bin", program)) {
			return startErr
		}
	}
	if err := readableByAll(home); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(home, ".complete"), nil, 0o755)
}

// fetchLogs are the logs that the library makes in the folder for temporary files and leaves there.
func fetchLogs() []string {
	logs, err := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	if err != nil {
		return nil // the folder's name makes no pattern: they stay
	}
	return logs
}

// removeLogs removes the logs that were not there before.
func removeLogs(before []string) {
	for _, name := range fetchLogs() {
		if !slices.Contains(before, name) {
			_ = os.Remove(name)
		}
	}
}

// readableByAll lets the unprivileged account the server runs as read what was unpacked.
func readableByAll(root string) error {
	return filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Type()&os.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if d.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode)
	})
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
