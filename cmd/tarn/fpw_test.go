package main

import (
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
)

// Pages may be torn only where the user says that they will be put back, and where they can be.
func TestMayTear(t *testing.T) {
	good := admin.Status{State: admin.StateStreaming, History: admin.History{LSN: 0x1000}, SourceLSN: 0x20000000, ArchivedLSN: 0x1FFF0000}
	copying, unknown, behind := good, good, good
	copying.State = admin.StateCopying
	unknown.History.LSN = 0
	behind.ArchivedLSN = behind.SourceLSN - repairLagMax - 1
	for _, c := range []struct {
		force  bool
		status admin.Status
		want   string
	}{
		{true, good, ""}, {false, good, "give --force"}, {true, copying, "tarn is in state copying"}, {true, unknown, "could put no torn page back"},
		{true, behind, "64.0 MiB of WAL that is not in the store yet"},
	} {
		f := fpwFlags{force: c.force}
		err := f.mayTear(&c.status)
		if (err == nil) != (c.want == "") || err != nil && (fault.CodeOf(err) != fault.FullPageWrites || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("force %v: %v, want %q", c.force, err, c.want)
		}
	}
}
