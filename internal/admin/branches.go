package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// Branch is a name for what the cluster was at an LSN.
type Branch struct {
	Name    string    `json:"name"`
	Parent  string    `json:"parent"` // empty for main
	LSN     pg.LSN    `json:"lsn"`
	Created time.Time `json:"created"` // zero for main
	// Lake is what became of its lake, database@name in the catalog: LakePending, LakeReady or LakeError. Empty for main.
	Lake      string `json:"lake,omitempty"`
	LakeError string `json:"lake_error,omitempty"` // why it could not be made; that is tried again
}

// What the lake of a branch is.
const (
	LakePending = "pending" // being made, or waiting for the publication that passes the branch's LSN
	LakeReady   = "ready"
	LakeError   = "error"
)

// BranchRequest asks for a branch of another one, main if it names none, at an LSN or time, or at its end.
type BranchRequest struct {
	Name string    `json:"name"`
	From string    `json:"from,omitempty"`
	LSN  pg.LSN    `json:"lsn,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

func (s *Server) branches(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string][]Branch{"branches": notNil(s.source.Branches())})
}

func (s *Server) createBranch(w http.ResponseWriter, r *http.Request) {
	if !jsonSent(w, r) {
		return
	}
	var req BranchRequest
	if err := decode(w, r, &req); err != nil || req.Name == "" || req.LSN != 0 && !req.Time.IsZero() {
		fail(w, http.StatusBadRequest, fault.RequestBad, `send {"name":"...","from":"main","lsn":"0/1A2B3C4D"}, with "time" in place of "lsn", or neither`)
		return
	}
	b, err := s.source.CreateBranch(r.Context(), req)
	if err != nil {
		fail(w, branchStatus(err), fault.CodeOf(err), err.Error())
		return
	}
	s.log.Info("branch created", "branch", b.Name, "parent", b.Parent, "lsn", b.LSN)
	reply(w, http.StatusCreated, b)
}

func (s *Server) deleteBranch(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if err := s.source.DeleteBranch(r.Context(), name); err != nil {
		fail(w, branchStatus(err), fault.CodeOf(err), err.Error())
		return
	}
	s.log.Info("branch deleted", "branch", name)
	reply(w, http.StatusOK, map[string]string{"status": "deleted"})
}

// branchStatus is the HTTP status of an error.
func branchStatus(err error) int {
	switch fault.CodeOf(err) {
	case fault.BranchUnknown:
		return http.StatusNotFound
	case fault.BranchExists, fault.BranchInUse:
		return http.StatusConflict
	case fault.BranchName, fault.BeforeHistory, fault.BeyondWAL:
		return http.StatusBadRequest
	case fault.LakeNotRead:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// branchTimeout bounds the making of a branch: at a time, WAL is read to find where that is.
const branchTimeout = 2 * time.Minute

// Branches lists the branches.
func (c *Client) Branches(ctx context.Context) ([]Branch, error) {
	var r struct{ Branches []Branch }
	err := c.call(ctx, answerTimeout, http.MethodGet, "/api/v1/branches", nil, &r)
	return r.Branches, err
}

// CreateBranch makes a branch, durably.
func (c *Client) CreateBranch(ctx context.Context, r BranchRequest) (b Branch, err error) {
	return b, c.call(ctx, branchTimeout, http.MethodPost, "/api/v1/branches", r, &b)
}

// DeleteBranch forgets a branch.
func (c *Client) DeleteBranch(ctx context.Context, name string) error {
	return c.call(ctx, answerTimeout, http.MethodDelete, "/api/v1/branches/"+url.PathEscape(name), nil, nil)
}
