package table

// Measures are what a reader of a table has to go through before the files.
type Measures struct {
	Snapshots     int
	Manifests     int
	MetadataBytes int64 // of metadata.json and the current manifests
}

// Measures of the newest state.
func (t *Table) Measures() Measures {
	m := Measures{Snapshots: len(t.meta.Snapshots), Manifests: len(t.manifests), MetadataBytes: int64(t.jsonBytes)}
	for _, f := range t.manifests {
		m.MetadataBytes += f.file.Length()
	}
	return m
}

// Effort is what a commit did so that metadata stays small.
type Effort struct {
	ManifestsRewritten int64 // read again and written into others
	SnapshotsExpired   int64
}

// Effort of the commit.
func (c *Commit) Effort() Effort {
	return Effort{ManifestsRewritten: int64(c.rewritten), SnapshotsExpired: int64(len(c.expired))}
}

// Add adds up.
func (e *Effort) Add(o Effort) {
	e.ManifestsRewritten += o.ManifestsRewritten
	e.SnapshotsExpired += o.SnapshotsExpired
}
