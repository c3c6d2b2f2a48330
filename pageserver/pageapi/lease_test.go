package pageapi_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/client"
)

// TestLease: the newest LSN, or one that is named, is leased for the time that is said, under the conditions that reads are.
func TestLease(t *testing.T) {
	r := newRig(t, 10, pageapi.Options{}, nil)
	defer r.end(t)
	asked := time.Now()
	lsn, until, err := r.LeaseLSN(t.Context(), client.At{SystemID: testSystemID})
	if want := r.tl.RedoLSN() + 0x100; err != nil || lsn != want || until.Before(asked.Add(pageapi.LeaseTime)) || until.After(time.Now().Add(pageapi.LeaseTime)) {
		t.Errorf("%s is leased until %v: %v", lsn, until, err)
	}
	named := client.At{Position: pageapi.Position{LSN: r.tl.RedoLSN()}}
	if lsn, _, err := r.LeaseLSN(t.Context(), named); lsn != named.LSN || err != nil {
		t.Errorf("%s is leased in place of %s: %v", lsn, named.LSN, err)
	}
	if n := r.tl.Leases(); n != 2 {
		t.Errorf("%d LSNs are leased", n)
	}
	_, _, err = r.LeaseLSN(t.Context(), client.At{SystemID: 78})
	refused(t, "another cluster", err, codes.FailedPrecondition, fault.PagesOfOther)
	_, _, err = r.LeaseLSN(t.Context(), client.At{Position: pageapi.Position{LSN: 0x100}})
	refused(t, "before history", err, codes.OutOfRange, fault.BeforeHistory)
	_, _, err = r.LeaseLSN(t.Context(), client.At{Position: pageapi.Position{Branch: "nightly"}})
	refused(t, "no branch", err, codes.NotFound, fault.BranchUnknown)
	for i := r.tl.Leases(); i < pageserver.LeasesMax; i++ {
		if _, err := r.tl.LeaseLSN(named.LSN + 1<<20); err != nil {
			t.Fatal(err)
		}
		named.LSN++
	}
	_, _, err = r.LeaseLSN(t.Context(), client.At{Position: pageapi.Position{LSN: r.tl.RedoLSN() + 1}})
	refused(t, "one too many", err, codes.ResourceExhausted, fault.PageServiceBusy)
}
