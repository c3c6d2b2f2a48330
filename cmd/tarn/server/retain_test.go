package server

import (
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

// TestRetention: WAL goes when it has not been needed for the grace, and never what is needed again since history was taken back.
func TestRetention(t *testing.T) {
	var r retention
	start := time.Now()
	for i, step := range []struct {
		after time.Duration
		from  pg.LSN
		want  pg.LSN
	}{
		{0, 100, 0},
		{walGrace - time.Second, 100, 0},
		{walGrace, 100, 100},
		{walGrace + time.Minute, 200, 100},
		{walGrace + 2*time.Minute, 300, 100},
		{2*walGrace + time.Minute, 400, 200},
		{2*walGrace + 2*time.Minute, 400, 300},
		{2*walGrace + 3*time.Minute, 250, 0}, // taken back
		{3*walGrace + 3*time.Minute, 500, 250},
		{4*walGrace + 3*time.Minute, 500, 500},
	} {
		if got := r.due(start.Add(step.after), step.from); got != step.want {
			t.Errorf("step %d: %s, want %s", i, got, step.want)
		}
	}
}
