package waldump

import (
	"bufio"
	"encoding/json"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// count is one row's sums (XLogRecStats), sizes in bytes.
type count struct{ n, rec, fpi uint64 }

// stats are the sums per resource manager and record type (XLogStats).
type stats struct {
	start, end pg.LSN
	counts     [256][16]count
}

func (s *stats) add(rec *wal.Record) {
	if s.start == 0 {
		s.start = rec.LSN
	}
	s.end = rec.End
	op := rec.Info >> 4
	if rec.RMID == wal.RMXact {
		op &= 7
	}
	fpi := imageLen(rec)
	c := &s.counts[rec.RMID][op]
	c.n++
	c.rec += uint64(rec.TotLen - fpi)
	c.fpi += uint64(fpi)
}

// row is one line of the table.
type row struct {
	Name     string `json:"name"`
	Count    uint64 `json:"count"`
	Record   uint64 `json:"record_bytes"`
	FPI      uint64 `json:"fpi_bytes"`
	Combined uint64 `json:"combined_bytes"`
}

func (r *row) add(c count) {
	r.Count += c.n
	r.Record += c.rec
	r.FPI += c.fpi
	r.Combined += c.rec + c.fpi
}

// rows gives the table's lines and their total. Per manager every built-in one has a line, as in pg_waldump.
func (s *stats) rows(major pg.Major, kind Stats) (rows []row, total row) {
	total.Name = "Total"
	for id := range s.counts {
		rm := row{Name: wal.RMID(id).String()}
		for op, c := range s.counts[id] {
			total.add(c)
			rm.add(c)
			if kind == ByRecord && c.n > 0 {
				r := row{Name: rm.Name + "/" + wal.RecordName(major, wal.RMID(id), uint8(op)<<4)}
				r.add(c)
				rows = append(rows, r)
			}
		}
		if kind == ByRMGR && (id <= int(wal.RMLogicalMsg) || rm.Count > 0) {
			rows = append(rows, rm)
		}
	}
	return rows, total
}

func (s *stats) print(w *bufio.Writer, major pg.Major, o Options) {
	if o.JSON {
		s.printJSON(w, major, o)
		return
	}
	if s.end == 0 {
		return // as pg_waldump: no records, no table
	}
	rows, total := s.rows(major, o.Stats)
	fmt.Fprintf(w, "WAL statistics between %s and %s:\n", s.start, s.end)
	heads := "%-27s %20s %8s %20s %8s %20s %8s %20s %8s\n"
	fmt.Fprintf(w, heads, "Type", "N", "(%)", "Record size", "(%)", "FPI size", "(%)", "Combined size", "(%)")
	fmt.Fprintf(w, heads, "----", "-", "---", "-----------", "---", "--------", "---", "-------------", "---")
	for _, r := range rows {
		fmt.Fprintf(w, "%-27s %20d (%6.2f) %20d (%6.2f) %20d (%6.2f) %20d (%6.2f)\n", r.Name,
			r.Count, percent(r.Count, total.Count), r.Record, percent(r.Record, total.Record),
			r.FPI, percent(r.FPI, total.FPI), r.Combined, percent(r.Combined, total.Combined))
	}
	fmt.Fprintf(w, "%-27s %20s %8s %20s %8s %20s %8s %20s\n", "", "--------", "", "--------", "", "--------", "", "--------")
	fmt.Fprintf(w, "%-27s %20d %-9s%20d %-9s%20d %-9s%20d %-6s\n", "Total", total.Count, "",
		total.Record, fmt.Sprintf("[%.2f%%]", percent(total.Record, total.Combined)),
		total.FPI, fmt.Sprintf("[%.2f%%]", percent(total.FPI, total.Combined)), total.Combined, "[100%]")
}

func percent(n, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return 100 * float64(n) / float64(of)
}

func (s *stats) printJSON(w *bufio.Writer, major pg.Major, o Options) {
	rows, total := s.rows(major, o.Stats)
	b, err := json.Marshal(struct {
		Start pg.LSN `json:"start_lsn"`
		End   pg.LSN `json:"end_lsn"`
		Rows  []row  `json:"rows"`
		Total row    `json:"total"`
	}{s.start, s.end, rows, total})
	if err != nil {
		panic("BUG: statistics do not marshal: " + err.Error())
	}
	w.Write(append(b, '\n'))
}

type jsonRecord struct {
	LSN      pg.LSN      `json:"lsn"`
	End      pg.LSN      `json:"end_lsn"`
	Prev     pg.LSN      `json:"prev_lsn"`
	XID      pg.XID      `json:"xid"`
	TopXID   pg.XID      `json:"top_xid,omitempty"`
	Origin   uint16      `json:"origin,omitempty"`
	RMGR     string      `json:"rmgr"`
	Type     string      `json:"type"`
	Desc     string      `json:"desc,omitempty"`
	Record   uint32      `json:"record_bytes"`
	FPI      uint32      `json:"fpi_bytes"`
	Combined uint32      `json:"combined_bytes"`
	Blocks   []jsonBlock `json:"blocks,omitempty"`
}

type jsonBlock struct {
	ID    uint8          `json:"id"`
	Rel   string         `json:"rel"`
	Fork  string         `json:"fork"`
	Block pg.BlockNumber `json:"block"`
	FPI   int            `json:"fpi_bytes,omitempty"`
	Apply bool           `json:"apply,omitempty"`
}

func appendJSON(b []byte, rec *wal.Record) []byte {
	fpi := imageLen(rec)
	j := jsonRecord{
		LSN: rec.LSN, End: rec.End, Prev: rec.Prev, XID: rec.XID, TopXID: rec.TopXID, Origin: rec.Origin,
		RMGR: rec.RMID.String(), Type: rec.TypeName(), Desc: string(appendDesc(nil, rec)),
		Record: rec.TotLen - fpi, FPI: fpi, Combined: rec.TotLen,
	}
	for i := range rec.Blocks {
		blk := &rec.Blocks[i]
		j.Blocks = append(j.Blocks, jsonBlock{ID: blk.ID, Rel: blk.Rel.String(), Fork: blk.Fork.String(), Block: blk.Block,
			FPI: len(blk.Image), Apply: blk.ApplyImage})
	}
	out, err := json.Marshal(j)
	if err != nil {
		panic("BUG: record does not marshal: " + err.Error())
	}
	return append(append(b, out...), '\n')
}
