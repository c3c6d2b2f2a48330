package receive

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/pg"
)

// historyMax bounds a history file, bytes: a line is some fifty, so this is tens of thousands of promotions.
const historyMax = 1 << 20

// TimelineHistory asks the server for a timeline's history file, byte for byte as it lies in its pg_wal. The first timeline
// has none.
func TimelineHistory(ctx context.Context, src Source, tli pg.TimelineID) ([]byte, error) {
	if tli <= 1 {
		return nil, nil
	}
	conn, err := connect(ctx, src)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	r, err := row(ctx, conn, fmt.Sprintf("TIMELINE_HISTORY %d", tli), 2)
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return nil, &AttachError{Code: CodeHistory, Err: err, Msg: fmt.Sprintf("the source does not give the history of timeline %d (%s)", tli, oneLine(pe.Message)),
			Fix: "put " + pg.HistoryFileName(tli) + " back into its pg_wal, from its archive or another standby"}
	}
	if err != nil {
		return nil, fmt.Errorf("TIMELINE_HISTORY: %w", err)
	}
	if r == nil || len(r[1]) > historyMax {
		return nil, fmt.Errorf("TIMELINE_HISTORY %d: no row, or one past %d bytes", tli, historyMax)
	}
	return r[1], nil
}

// CheckTimeline refuses a server that is on an older timeline than the WAL here: the former primary, started again. since is
// where the newer timeline began.
func CheckTimeline(info Info, have pg.TimelineID, since pg.LSN) error {
	if info.Timeline >= have {
		return nil
	}
	return &AttachError{Code: CodeTimeline,
		Msg: fmt.Sprintf("the server is on timeline %d, which was left at %s for timeline %d: it is a former primary", info.Timeline, since, have),
		Fix: "point source.url at the primary, and make this one its standby (pg_rewind)"}
}
