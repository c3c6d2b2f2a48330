package materialize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/schema"
)

// A table whose rule says so has another beside it, of its changes, to which rows are only ever added: each row of the table that came
// to be in the lake, and each that left it, with the transaction that did it. What came and went between two publications is in
// neither. So the rows inserted less those deleted, up to the LSN of a publication, are the table's rows at it, and those between two
// publications are what one has and the other has not.
//
// Invariant: a publication that changes the rows of a table changes its history, and a row of the history says an LSN behind the
// publication before and not behind its own.

// HistorySuffix is what a history's name has behind its table's.
const HistorySuffix = "__history"

// Columns of a history, before those of its table. Their field ids are 1 to 4; a column of the table has its own id there, plus 4.
var historyColumns = []lake.Field{
	{ID: 1, Name: "_tarn_op", Type: lake.Type{Kind: lake.String}, Doc: "insert or delete; an update is a delete and an insert"},
	{ID: 2, Name: "_tarn_lsn", Type: lake.Type{Kind: lake.Long}, Doc: "LSN at which the transaction committed, as a number; that of the publication if the transaction is not known"},
	{ID: 3, Name: "_tarn_commit_time", Type: lake.Type{Kind: lake.TimestampTZ}, Doc: "by the source's clock; null if the transaction is not known"},
	{ID: 4, Name: "_tarn_xid", Type: lake.Type{Kind: lake.Long}, Doc: "the top-level transaction, with its epoch, as pg_current_xact_id() says it; null if it is not known"},
}

const historyShift = 4

// history is a table's history as last published.
type history struct {
	id     lake.TableID
	uuid   string
	name   lake.TableName
	schema lake.Schema
	files  []historyFile
	lsn    pg.LSN
	// damaged: its files cannot be told; it begins anew
	damaged bool
}

// historyFile is a live data file of a history.
type historyFile struct {
	key         string
	rows, bytes int64
}

func historyName(table lake.TableName) lake.TableName {
	table.Name += HistorySuffix
	return table
}

// historySchema is that of a table's history.
func historySchema(table lake.Schema) lake.Schema {
	s := lake.Schema{Fields: slices.Clone(historyColumns), LastColumnID: table.LastColumnID + historyShift}
	for _, f := range table.Fields {
		s.Fields = append(s.Fields, shifted(f))
	}
	return s
}

func shifted(f lake.Field) lake.Field {
	f.ID += historyShift
	member := func(m *lake.Field) *lake.Field {
		if m == nil {
			return nil
		}
		out := shifted(*m)
		return &out
	}
	f.Type.Key, f.Type.Elem, f.Type.Fields = member(f.Type.Key), member(f.Type.Elem), slices.Clone(f.Type.Fields)
	for i := range f.Type.Fields {
		f.Type.Fields[i] = shifted(f.Type.Fields[i])
	}
	return f
}

// historyPlan is what a cut has of a table's history.
type historyPlan struct {
	wanted bool
	name   lake.TableName
	err    string // why there is none though it is wanted
}

// historyNames are the names that histories in the lake have or are about to have, ignoring case, with their tables'.
func (e *Engine) historyNames(cat *schema.Catalogs) map[string]lake.TableName {
	names := map[string]lake.TableName{}
	if e.opts.History == nil {
		return names
	}
	for key, t := range e.tables {
		rel := cat.Relations[key.rel]
		if key.db != cat.Database.OID || rel == nil || t.history == nil || !e.opts.History(nameOf(cat, rel)) {
			continue
		}
		if name := nameOf(cat, rel); name == t.name {
			names[foldedName(historyName(name))] = name
		}
	}
	return names
}

func foldedName(n lake.TableName) string { return strings.ToLower(n.Namespace + "\x00" + n.Name) }

// planHistories decides which of a database's tables have a history. A name that another table has is refused: the history
// waits until it is free, and one that is in the lake already has its table wait with it.
func (e *Engine) planHistories(plans []*tablePlan) {
	if e.opts.History == nil {
		return
	}
	tables := map[string]lake.TableName{}
	for _, p := range plans {
		tables[foldedName(p.name)] = p.name
	}
	for _, p := range plans {
		if !e.opts.History(p.name) {
			continue
		}
		p.history = historyPlan{wanted: true, name: historyName(p.name)}
		if other, ok := tables[foldedName(p.history.name)]; ok {
			p.history.err = fmt.Sprintf("its history cannot be named %s: that is the name of table %s; rename one of the two", p.history.name, other)
		}
		for _, f := range p.cols.schema.Fields {
			if slices.ContainsFunc(historyColumns, func(h lake.Field) bool { return strings.EqualFold(h.Name, f.Name) }) {
				p.history.err = fmt.Sprintf("its history has a column %s, and so has the table: rename that one", strings.ToLower(f.Name))
			}
		}
		if p.history.err == "" {
			continue
		}
		p.history.wanted = false
		if t := e.tables[p.key]; t != nil && t.history != nil && p.err == nil {
			p.err = fmt.Errorf("%s", p.history.err) // without its changes the history would be wrong
		}
	}
}

// followHistory is what happens to a history when the table's files do not change: it is renamed with its table, unless the name is
// another's.
func (t *table) followHistory(p *tablePlan) (ch *lake.TableChange, apply func()) {
	h := t.history
	if h == nil || p.history.err != "" || h.name == historyName(p.name) {
		return nil, func() {}
	}
	name := historyName(p.name)
	return &lake.TableChange{ID: h.id, Name: name, UUID: h.uuid, Schema: h.schema, State: historyState()}, func() { h.name = name }
}

// dropped is a history that leaves the lake.
func (h *history) dropped() *lake.TableChange {
	if h == nil {
		return nil
	}
	return &lake.TableChange{ID: h.id, Name: h.name, UUID: h.uuid, Schema: h.schema, Drop: true}
}

// status is what users are told of a history.
func (h *history) status(of lake.TableName) TableStatus {
	s := TableStatus{ID: h.id, Name: h.name.String(), Parts: h.name, State: "live", DataFiles: len(h.files), LSN: h.lsn, HistoryOf: of.String()}
	for _, f := range h.files {
		s.Rows += f.rows
		if f.small() {
			s.SmallFiles++
		}
	}
	return s
}

// historyState is what a publication carries for a history.
func historyState() []byte {
	return encodeState(tableState{Version: historyStateVersion, History: true})
}

// loadHistories takes heads of histories out and gives them by the id of their table.
func loadHistories(heads []lake.TableHead) (tables []lake.TableHead, histories map[lake.TableID]*history, err error) {
	histories = map[lake.TableID]*history{}
	of := map[lake.TableID]lake.TableID{} // table by history
	for i := range heads {
		if !heads[i].ID.IsHistory() {
			of[heads[i].ID.History()] = heads[i].ID
			tables = append(tables, heads[i])
		}
	}
	for i := range heads {
		h := &heads[i]
		if !h.ID.IsHistory() {
			continue
		}
		id, ok := of[h.ID]
		if !ok {
			return nil, nil, fmt.Errorf("%s is a history, and its table is not in the lake", h.Name)
		}
		x := &history{id: h.ID, uuid: h.UUID, name: h.Name, schema: h.Schema, lsn: h.LSN, damaged: h.Damaged != nil}
		if h.Damaged == nil {
			if _, err := decodeTableState(h.State, h.Name); err != nil && !damaged(err) {
				return nil, nil, err
			}
		}
		for _, f := range h.Data {
			x.files = append(x.files, historyFile{key: f.Key, rows: f.Rows, bytes: f.Bytes})
		}
		histories[id] = x
	}
	return tables, histories, nil
}

// noteChanges tells the page store what has to be known at the next cut: between cuts.
func (e *Engine) noteChanges() {
	if e.pages == nil { // until there are new ones
		return
	}
	var watched []pg.RelFileLocator
	for _, t := range e.tables {
		if t.history == nil {
			continue
		}
		for _, l := range t.leaves {
			watched = append(watched, l.state.File)
		}
	}
	e.pages.NoteChanges(e.opts.History != nil, watched)
}

// attribution says which transaction did something.
type attribution struct {
	lsn  pg.LSN
	xid  pg.FullXID // 0: not known, and lsn is the publication's
	time int64      // microseconds since 1970
}

// attributed is the attribution to a transaction or subtransaction that committed since the last publication. After a restart others
// are noted too, whose deeds are in the lake.
func (c *cut) attributed(xid pg.XID) attribution {
	if commit, ok := c.e.pages.CommitOf(xid); ok && xid != 0 && commit.LSN > c.since {
		return attribution{lsn: commit.LSN, xid: commit.XID, time: commit.Time.UnixMicro()}
	}
	return c.unattributed()
}

// unattributed is the attribution to no transaction.
func (c *cut) unattributed() attribution { return attribution{lsn: c.at.LSN} }
