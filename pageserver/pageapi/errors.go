package pageapi

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
)

// kinds are gRPC's codes of errors that a client can tell apart. Whatever else the store fails with is codes.Unavailable.
var kinds = map[fault.Code]codes.Code{
	fault.RequestBad:         codes.InvalidArgument,
	fault.TokenNeeded:        codes.Unauthenticated,
	fault.PageMissing:        codes.NotFound,
	fault.BranchUnknown:      codes.NotFound,
	fault.PagesUnknown:       codes.FailedPrecondition,
	fault.PagesOfOther:       codes.FailedPrecondition,
	fault.BeforeHistory:      codes.OutOfRange,
	fault.BeyondWAL:          codes.OutOfRange,
	fault.WaitTimeout:        codes.DeadlineExceeded,
	fault.PageServiceBusy:    codes.ResourceExhausted,
	fault.LakeNotRead:        codes.Unavailable,
	fault.ServerStopped:      codes.Unavailable,
	fault.Corrupt:            codes.DataLoss,
	fault.StoreDamaged:       codes.DataLoss,
	fault.StoreObjectMissing: codes.DataLoss,
}

// kindOf is gRPC's code of an error.
func kindOf(err error) codes.Code {
	code := fault.CodeOf(err)
	if kind, ok := kinds[code]; ok {
		return kind
	}
	switch {
	case errors.Is(err, pg.ErrCorrupt):
		return codes.DataLoss
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case code >= fault.StoreURL && code <= fault.StoreVendWide:
		return codes.Unavailable
	}
	return codes.Internal
}

// errorOf is an error as it is sent.
func errorOf(err error) *pagepb.Error {
	code := fault.CodeOf(err)
	if code == fault.Unexpected && errors.Is(err, context.DeadlineExceeded) {
		code = fault.WaitTimeout
	}
	return &pagepb.Error{Status: int32(kindOf(err)), Code: code.String(), Message: err.Error()}
}

// statusOf is an error that ends a call.
func statusOf(err error) error {
	e := errorOf(err)
	st := status.New(codes.Code(e.GetStatus()), e.GetMessage())
	if with, err := st.WithDetails(e); err == nil {
		st = with
	}
	return st.Err()
}
