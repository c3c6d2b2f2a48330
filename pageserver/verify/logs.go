package verify

import (
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// logPage names a page of a transaction log.
type logPage struct {
	kind slru.Kind
	no   uint32
}

// logReader reads the transaction logs of a data directory by page. It keeps the file it has read last: its neighbours are asked for next.
type logReader struct {
	dir  *datadir.Dir
	last logPage // the first page of file
	file []byte  // nil: none was read, or it is not there
}

// page returns a page, nil if it is not there. It is good until the next call.
func (l *logReader) page(at logPage) (pg.Page, error) {
	first := logPage{at.kind, at.no - at.no%slru.SegmentPages}
	if l.file == nil || l.last != first {
		file, err := l.dir.LogFile(at.kind.Folder(), slru.SegmentName(at.no/slru.SegmentPages))
		if err != nil {
			return nil, err
		}
		l.last, l.file = first, file
	}
	from := int(at.no-first.no) * pg.BlockSize
	if from+pg.BlockSize > len(l.file) {
		return nil, nil
	}
	return pg.Page(l.file[from : from+pg.BlockSize]), nil
}

// copyPage copies a page; one that is not there is zeros.
func (l *logReader) copyPage(at logPage, dst pg.Page) error {
	page, err := l.page(at)
	clear(dst)
	copy(dst, page)
	return err
}

// logSets lists the pages of the transaction logs in a data directory.
func logSets(dir *datadir.Dir) (sets slru.Sets, err error) {
	for kind := range slru.Kind(slru.Kinds) {
		segments, err := dir.LogSegments(kind.Folder())
		if err != nil {
			return sets, err
		}
		for segment, pages := range segments {
			if pages > 0 && pages <= slru.SegmentPages {
				sets[kind].Add(segment*slru.SegmentPages + pages - 1)
			}
		}
	}
	return sets, nil
}
