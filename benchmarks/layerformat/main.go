// Layerformat compares tarn's layer files with general sorted tables of other projects on pages of a real cluster. It is a module of its
// own, so that what is only compared is no dependency of tarn.
//
//	cd benchmarks/layerformat && go run . -datadir DIR [-record NAME]
//
// DIR is the data directory of a stopped cluster, such as `make bench-redo` records. Each turn takes all formats one after the other;
// figures are medians over the turns.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

// format is a kind of table.
type format struct {
	name  string
	write func(path string, entries []entry) error
	open  func(src *source) (table, error)
	// merge writes a table anew with some of its values replaced.
	merge func(path string, t table, replaced []entry) error
}

// table is one that is open, with what a reader keeps of it in memory. It has no cache of values.
type table interface {
	get(key []byte) ([]byte, error)
	scan(fn func(value []byte)) error
	close() error
}

// figures are one format's for one content, medians over the turns.
type figures struct {
	Format       string  `json:"format"`
	Content      string  `json:"content"`
	Ratio        float64 `json:"ratio"` // bytes of the file to bytes of the values
	WriteMBs     float64 `json:"write_mb_per_s"`
	WriteCPU     float64 `json:"write_cpu_seconds_per_gb"`
	ScanMBs      float64 `json:"scan_mb_per_s"`
	MergeMBs     float64 `json:"merge_mb_per_s"` // one value of 50 replaced
	MergeCPU     float64 `json:"merge_cpu_seconds_per_gb"`
	P50          float64 `json:"point_p50_us"` // of a file in the page cache
	P99          float64 `json:"point_p99_us"`
	PointCPU     float64 `json:"point_cpu_us"` // all threads, garbage collection too
	Allocs       float64 `json:"allocs_per_point"`
	AllocBytes   float64 `json:"alloc_bytes_per_point"`
	OpenRequests float64 `json:"open_requests"` // ranges read until the first value was there, less those of any other one
	OpenBytes    float64 `json:"open_bytes"`
	Requests     float64 `json:"requests_per_point"` // ranges read for a value once the table is open
	Bytes        float64 `json:"bytes_per_point"`
	IndexMemory  float64 `json:"index_bytes_per_1000_values"` // in memory, while the table is open
}

func main() {
	dataDir := flag.String("datadir", "", "data `directory` of a stopped cluster")
	mb := flag.Int("mb", 128, "pages taken of each relation at most, MB")
	total := flag.Int("total", 512, "pages taken in all at most, MB")
	turns := flag.Int("turns", 5, "turns")
	points := flag.Int("points", 1000, "point reads of a turn")
	record := flag.String("record", "", "`name` under which the result is kept in benchmarks/results")
	flag.Parse()
	if *dataDir == "" {
		log.Fatal("-datadir is not given")
	}
	started := time.Now()
	pages, err := readPages(*dataDir, *mb<<20, *total<<20)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "tarn-layerformat-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	load := loadAverage()
	var out []figures
	for _, c := range []struct {
		name    string
		entries []entry
	}{{"images", pages}, {"deltas", deltas(pages)}} {
		runs := map[string][]figures{}
		for turn := range *turns {
			for _, f := range formats {
				got, err := measure(f, filepath.Join(dir, "000001.sst"), c.entries, *points, uint64(turn))
				if err != nil {
					log.Fatal(f.name, ": ", err)
				}
				runs[f.name] = append(runs[f.name], got)
			}
		}
		for _, f := range formats {
			m := medians(runs[f.name])
			m.Format, m.Content = f.name, c.name
			out = append(out, m)
			fmt.Printf("%+v\n", m)
		}
	}
	if *record == "" {
		return
	}
	if err := keep(*record, started, load, out, len(pages)); err != nil {
		log.Fatal(err)
	}
}

// measure writes a table and reads it.
func measure(f format, path string, entries []entry, points int, seed uint64) (m figures, err error) {
	var values float64
	for i := range entries {
		values += float64(len(entries[i].value))
	}
	runtime.GC()
	wall, cpu := time.Now(), cpuTime()
	if err := f.write(path, entries); err != nil {
		return m, err
	}
	m.WriteMBs = values / 1e6 / time.Since(wall).Seconds()
	m.WriteCPU = (cpuTime() - cpu).Seconds() / (values / 1e9)
	src, err := openSource(path)
	if err != nil {
		return m, err
	}
	defer src.close()
	m.Ratio = float64(src.size) / values

	if m.IndexMemory, err = indexMemory(f, src, &entries[0]); err != nil {
		return m, err
	}
	m.IndexMemory *= 1000 / float64(len(entries))
	src.requests, src.bytes = 0, 0
	t, err := f.open(src)
	if err != nil {
		return m, err
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func() *entry { return &entries[rng.IntN(len(entries))] }
	if err := check(t, pick()); err != nil {
		return m, err
	}
	m.OpenRequests, m.OpenBytes = float64(src.requests), float64(src.bytes)
	src.requests, src.bytes = 0, 0

	times := make([]time.Duration, points)
	var mem0, mem1 runtime.MemStats
	runtime.ReadMemStats(&mem0)
	cpu = cpuTime()
	for i := range times {
		e := pick()
		start := time.Now()
		v, err := t.get(e.key[:])
		times[i] = time.Since(start)
		if err != nil || len(v) != len(e.value) {
			return m, fmt.Errorf("point read: %d bytes, %v", len(v), err)
		}
	}
	runtime.ReadMemStats(&mem1)
	n := float64(points)
	m.PointCPU = micros(cpuTime()-cpu) / n
	m.Allocs, m.AllocBytes = float64(mem1.Mallocs-mem0.Mallocs)/n, float64(mem1.TotalAlloc-mem0.TotalAlloc)/n
	m.Requests, m.Bytes = float64(src.requests)/n, float64(src.bytes)/n
	m.OpenRequests, m.OpenBytes = m.OpenRequests-m.Requests, m.OpenBytes-m.Bytes
	slices.Sort(times)
	m.P50, m.P99 = micros(times[points/2]), micros(times[points*99/100])

	count, start := 0, time.Now()
	if err := t.scan(func(v []byte) { count += len(v) }); err != nil || float64(count) != values {
		return m, fmt.Errorf("scan: %d of %.0f bytes, %v", count, values, err)
	}
	m.ScanMBs = values / 1e6 / time.Since(start).Seconds()

	var replaced []entry
	for i := range entries {
		if rng.IntN(50) == 0 {
			replaced = append(replaced, entries[i])
		}
	}
	start, cpu = time.Now(), cpuTime()
	merged := filepath.Join(filepath.Dir(path), "000002.sst")
	if err := f.merge(merged, t, replaced); err != nil {
		return m, err
	}
	m.MergeMBs = values / 1e6 / time.Since(start).Seconds()
	m.MergeCPU = (cpuTime() - cpu).Seconds() / (values / 1e9)
	if st, err := os.Stat(merged); err != nil || st.Size() < src.size/2 || st.Size() > 2*src.size {
		return m, fmt.Errorf("the merged table is of another size than the one it comes from: %v", err)
	}
	return m, t.close()
}

// indexMemory is what a table keeps on the heap when a value was read of it, in bytes. Several are opened, for the heap has other tenants.
func indexMemory(f format, src *source, e *entry) (float64, error) {
	const copies = 8
	before := heap()
	var open []table
	for range copies {
		t, err := f.open(src)
		if err == nil {
			err = check(t, e)
		}
		if err != nil {
			return 0, err
		}
		open = append(open, t)
	}
	held := float64(int64(heap()-before)) / copies
	for _, t := range open {
		if err := t.close(); err != nil {
			return 0, err
		}
	}
	return held, nil
}

func check(t table, e *entry) error {
	v, err := t.get(e.key[:])
	if err == nil && string(v) != string(e.value) {
		err = fmt.Errorf("the value of %s is not what was written", e.key)
	}
	return err
}

func medians(runs []figures) (m figures) {
	for _, f := range []func(*figures) *float64{
		func(m *figures) *float64 { return &m.Ratio }, func(m *figures) *float64 { return &m.WriteMBs }, func(m *figures) *float64 { return &m.WriteCPU },
		func(m *figures) *float64 { return &m.ScanMBs }, func(m *figures) *float64 { return &m.P50 }, func(m *figures) *float64 { return &m.P99 },
		func(m *figures) *float64 { return &m.Allocs }, func(m *figures) *float64 { return &m.AllocBytes }, func(m *figures) *float64 { return &m.OpenRequests },
		func(m *figures) *float64 { return &m.OpenBytes }, func(m *figures) *float64 { return &m.Requests }, func(m *figures) *float64 { return &m.Bytes },
		func(m *figures) *float64 { return &m.IndexMemory }, func(m *figures) *float64 { return &m.PointCPU }, func(m *figures) *float64 { return &m.MergeMBs }, func(m *figures) *float64 { return &m.MergeCPU },
	} {
		var all []float64
		for i := range runs {
			all = append(all, *f(&runs[i]))
		}
		slices.Sort(all)
		*f(&m) = float64(int64(all[len(all)/2]*1000)) / 1000
	}
	return m
}

// keep writes the result where those of the other benchmarks are.
func keep(name string, started time.Time, load string, out []figures, pages int) error {
	commit, err := exec.Command("git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+").Output()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(map[string]any{
		"benchmark": name, "command": "cd benchmarks/layerformat && go run . " + strings.Join(commandArgs(), " "), "time": started.UTC().Truncate(time.Second),
		"commit": strings.TrimSpace(string(commit)), "go": runtime.Version(), "cpu": cpuModel(), "cpus": runtime.NumCPU(), "cgo": cgoEnabled(),
		"load_start": load, "load_end": loadAverage(), "pages": pages, "page_bytes": pg.BlockSize, "figures": out,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("..", "results", name+".json"), append(b, '\n'), 0o644)
}

// commandArgs are the flags that were given, without where the cluster lies.
func commandArgs() (args []string) {
	flag.Visit(func(f *flag.Flag) {
		value := f.Value.String()
		if f.Name == "datadir" {
			value = "DIR"
		}
		args = append(args, "-"+f.Name, value)
	})
	return args
}

func cgoEnabled() string {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			return s.Value
		}
	}
	return ""
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // a pool's content outlives the first one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
		}
	}
	return ""
}
