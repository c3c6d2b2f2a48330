package catalog

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestWaitingKeys: what waits for its removal comes back as it went in, in few bytes, and is counted.
func TestWaitingKeys(t *testing.T) {
	var g garbage
	var want []string
	at := time.Now()
	packed := 0
	for i := range 100 {
		var keys []string
		for table := range 4 {
			root := fmt.Sprintf("lake/5-1638%d-00000000018F3A28", table)
			for _, suffix := range []string{"-m0.avro", "-m1.avro", ".metadata.json"} {
				keys = append(keys, root+"/metadata/"+uuid.NewString()+suffix)
			}
		}
		keys = append(keys, "", "with\nline")
		g.add(at.Add(time.Duration(i)*time.Second), keys, nil)
		want = append(want, keys...)
		packed += len(g.batches[i].keys.packed)
	}
	g.add(at, nil, nil) // nothing: no batch
	if g.keys != len(want) || len(g.batches) != 100 {
		t.Errorf("%d keys wait in %d batches, want %d", g.keys, len(g.batches), len(want))
	}
	if per := packed / len(want); per > 60 {
		t.Errorf("%d bytes a key", per)
	}
	var got []string
	for {
		b, ok := g.due(at.Add(time.Hour))
		if !ok {
			break
		}
		got = append(got, b.keys.list()...)
		g.done()
	}
	if !slices.Equal(got, want) || g.keys != 0 {
		t.Errorf("%d keys came back of %d, %d are still counted", len(got), len(want), g.keys)
	}
}

// TestCompanions: what lies in a folder that only looks like one of metadata, as those of partitions may, has its TID set.
func TestCompanions(t *testing.T) {
	for key, want := range map[string]bool{
		"lake/5/1-1/metadata/a.avro": true, "lake/5/1-1/data/_spark_metadata/7.compact": true, "lake/5/1-1/data/_symlink_format_manifest/manifest": true,
		"lake/5/1-1/data/a.parquet": false, "lake/5/1-1/data/kind=metadata/a.parquet": false, "lake/5/1-1/data/kind=_manifest/a.parquet": false,
	} {
		if got := isMetadataObject(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}
