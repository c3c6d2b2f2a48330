package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Listings are for readers of bare Parquet. A table with the property lake.ParquetProperty has data files alone, all of one
// schema, so a list of its live ones is the table at one LSN. Beside them in <root>/data lie
//
//	_spark_metadata/<N>.compact            the list of metadata version N, as Spark's FileStreamSinkLog has it
//	_symlink_format_manifest/manifest      the newest list, as Hive's SymlinkTextInputFormat has it: one location a line
//	0-read-the-manifest.parquet            no Parquet: whoever takes all of the folder is told what to take
//	0-none-<N>.parquet                     a file without rows, in the lists of a table without rows
//
// A .compact object, in which every line but the first, v1, is a file:
//
//	v1
//	{"path":"s3a://…","size":1234,"isDir":false,"modificationTime":0,"blockReplication":1,"blockSize":134217728,"action":"add","lsn":"0/1A2B3C4"}
//
// Spark reads the folder's files by the newest .compact object and no other (MetadataLogFileIndex), the list is put whole or not at
// all, and what it names outlives it by the grace time: so it reads one LSN or another, and never of both.
//
// Invariant: the two newest lists have consecutive numbers. From their distance Spark works out which numbers are .compact
// objects (CompactibleFileStreamLog.compactInterval): 1 says all are.
// Invariant: N only rises, and is put only once a log entry names version N.
type listing struct {
	files []lake.File
	empty bool // the list has the file without rows
	lsn   pg.LSN
	at    time.Time
}

// Listing is where readers of bare Parquet find a table.
type Listing struct {
	Folder   string // location of the folder, for Spark
	Manifest string // location of the list, for others
	LSN      pg.LSN // of the newest list
}

// listingGapMax is how many versions without a list are given one each; a table that was without for longer begins anew.
const listingGapMax = 1000

func listingRoot(id lake.TableID) string  { return id.Root() + "/data/" }
func sparkLogRoot(id lake.TableID) string { return listingRoot(id) + "_spark_metadata/" }
func manifestKey(id lake.TableID) string {
	return listingRoot(id) + "_symlink_format_manifest/manifest"
}
func guardKey(id lake.TableID) string { return listingRoot(id) + "0-read-the-manifest.parquet" }
func noneKey(id lake.TableID, version uint32) string {
	return listingRoot(id) + "0-none-" + strconv.FormatUint(uint64(version), 10) + ".parquet"
}

func sparkLogKey(id lake.TableID, version uint32) string {
	return sparkLogRoot(id) + strconv.FormatUint(uint64(version), 10) + ".compact"
}

const guardText = "This folder has files of more than one state of the table. Those of the newest are listed in _symlink_format_manifest/manifest; " +
	"Spark reads the folder as it is, by _spark_metadata.\n"

// newListing lists a table's files, nil if it is not to be listed.
func newListing(t *table.Table, lsn pg.LSN, at time.Time) *listing {
	if t == nil || t.Damaged() || t.Property(lake.ParquetProperty) != "true" || len(t.Deletes())+len(t.Vectors()) > 0 {
		return nil
	}
	return &listing{files: t.Data(), lsn: lsn, at: at}
}

// putListing puts the list of a version. last is the version that this process put last, 0 if none.
func (c *Catalog) putListing(ctx context.Context, id lake.TableID, version, last uint32, schema lake.Schema, l *listing) error {
	if len(l.files) == 0 {
		b, err := withoutRows(schema)
		if err != nil {
			return err
		}
		l.empty, l.files = true, []lake.File{{Key: noneKey(id, version), Bytes: int64(len(b))}}
		if err := c.put(ctx, l.files[0].Key, b); err != nil {
			return err
		}
	}
	numbers, err := c.listingNumbers(ctx, id, version, last)
	if err != nil {
		return err
	}
	spark := c.sparkLog(l)
	for _, n := range numbers {
		if err := c.put(ctx, sparkLogKey(id, n), spark); err != nil {
			return err
		}
		if last != 0 && n >= 2 {
			c.garbage.add(c.opts.Now(), []string{sparkLogKey(id, n-2)}, nil)
		}
	}
	var manifest bytes.Buffer
	for _, f := range l.files {
		manifest.WriteString(c.opts.Store.URL(f.Key) + "\n")
	}
	return c.put(ctx, manifestKey(id), manifest.Bytes())
}

// listingNumbers are the numbers under which the list of a version is put, in order. A process's first are two, so that they are
// younger than itself and none of what is swept.
func (c *Catalog) listingNumbers(ctx context.Context, id lake.TableID, version, last uint32) ([]uint32, error) {
	from := last + 1
	if last == 0 {
		if err := c.put(ctx, guardKey(id), []byte(guardText)); err != nil {
			return nil, err
		}
		keys, err := c.keysUnder(ctx, sparkLogRoot(id))
		if err != nil {
			return nil, err
		}
		newest := int64(-1)
		for _, key := range keys {
			if n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(key, sparkLogRoot(id)), ".compact"), 10, 32); err == nil {
				newest = max(newest, int64(n))
			}
		}
		switch gap := int64(version) - newest; {
		case newest < 0:
			return []uint32{version, version - 1}, nil // alone, any number is a .compact object
		case gap < 0 || gap > listingGapMax:
			if _, err := c.removeKeys(ctx, keys); err != nil {
				return nil, err
			}
			return []uint32{version, version - 1}, nil
		}
		from = min(uint32(newest)+1, version-1)
	}
	var numbers []uint32
	for n := from; n <= version; n++ {
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// sparkFile is a line of Spark's list (SinkFileStatus), and where the list is in the WAL.
type sparkFile struct {
	Path             string `json:"path"` // a URI
	Size             int64  `json:"size"` // bytes
	IsDir            bool   `json:"isDir"`
	ModificationTime int64  `json:"modificationTime"` // milliseconds since 1970
	BlockReplication int    `json:"blockReplication"`
	BlockSize        int64  `json:"blockSize"` // bytes
	Action           string `json:"action"`
	LSN              pg.LSN `json:"lsn"`
}

func (c *Catalog) sparkLog(l *listing) []byte {
	b := []byte("v1")
	for _, f := range l.files {
		line, err := json.Marshal(sparkFile{Path: sparkPath(c.opts.Store, f.Key), Size: f.Bytes, ModificationTime: l.at.UnixMilli(), BlockReplication: 1, BlockSize: 128 << 20, Action: "add", LSN: l.lsn})
		if err != nil {
			panic("BUG: a list of files does not marshal: " + err.Error())
		}
		b = append(append(b, '\n'), line...)
	}
	return b
}

// sparkPath is an object as a URI that every Spark opens: s3a is the name of its own connector.
func sparkPath(store objstore.Store, key string) string {
	location := store.URL(key)
	bucket, path, ok := strings.Cut(strings.TrimPrefix(location, "s3://"), "/")
	if !ok || !strings.HasPrefix(location, "s3://") {
		return location
	}
	return (&url.URL{Scheme: "s3a", Host: bucket, Path: "/" + path}).String()
}

// withoutRows is a Parquet file that has columns alone.
func withoutRows(schema lake.Schema) ([]byte, error) {
	var b bytes.Buffer
	w, err := datafile.NewWriter(datafile.Options{Schema: schema}, &b)
	if err != nil {
		return nil, err
	}
	_, err = w.Close()
	return b.Bytes(), err
}

// unlist has the lists of a table whose property has gone removed: readers have the grace time to leave.
func (c *Catalog) unlist(id lake.TableID) {
	c.signposts.mu.Lock()
	delete(c.signposts.at, id)
	c.signposts.mu.Unlock()
	c.garbage.add(c.opts.Now(), []string{manifestKey(id), guardKey(id)}, []*laterKeys{{read: func(ctx context.Context) ([]string, error) {
		return c.keysUnder(ctx, sparkLogRoot(id))
	}}})
}

// Listings are those put last by this process, by table.
func (c *Catalog) Listings() map[lake.TableID]Listing {
	c.signposts.mu.Lock()
	defer c.signposts.mu.Unlock()
	out := map[lake.TableID]Listing{}
	for id, s := range c.signposts.at {
		if s.list != nil {
			out[id] = Listing{Folder: c.opts.Store.URL(strings.TrimSuffix(listingRoot(id), "/")), Manifest: c.opts.Store.URL(manifestKey(id)), LSN: s.list.lsn}
		}
	}
	return out
}

// listed are the keys of a listing that no log names.
func listed(id lake.TableID, version uint32) []string {
	return []string{manifestKey(id), guardKey(id), noneKey(id, version), sparkLogKey(id, version), sparkLogKey(id, max(version, 1)-1)}
}
