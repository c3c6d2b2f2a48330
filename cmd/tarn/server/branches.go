package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// Branches implements admin.Source.
func (s *Server) Branches() (list []admin.Branch) {
	if tl := s.pages.Load(); tl != nil {
		list = append(list, admin.Branch{Name: pageserver.MainBranch, LSN: s.marks.At(admin.StageRedo)})
		for _, b := range tl.Branches() {
			list = append(list, s.branchOf(b))
		}
	}
	return list
}

// CreateBranch implements admin.Source.
func (s *Server) CreateBranch(ctx context.Context, r admin.BranchRequest) (admin.Branch, error) {
	tl, err := s.openPages()
	if err != nil {
		return admin.Branch{}, err
	}
	if r.From == "" {
		r.From = pageserver.MainBranch
	}
	if !r.Time.IsZero() {
		if r.LSN, err = s.find(ctx, tl, pageserver.Target{Time: r.Time}); err != nil {
			return admin.Branch{}, err
		}
	}
	redo := s.marks.At(admin.StageRedo)
	if r.LSN == 0 && r.From == pageserver.MainBranch {
		r.LSN = redo
	}
	if r.LSN > redo {
		return admin.Branch{}, fmt.Errorf("%w: %s was asked for, it is redone to %s", pageserver.ErrBeyondWAL, r.LSN, redo)
	}
	b, err := tl.CreateBranch(ctx, r.Name, r.From, r.LSN)
	if err != nil {
		return admin.Branch{}, err
	}
	s.lakes.wake()
	return s.branchOf(b), nil
}

// branchOf is a branch, and what became of its lake.
func (s *Server) branchOf(b pageserver.Branch) admin.Branch {
	out := admin.Branch{Name: b.Name, Parent: b.Parent, LSN: b.LSN, Created: b.Created, Lake: admin.LakePending}
	switch err := s.lakes.failed(branchID(b)); {
	case slices.ContainsFunc(s.cat.View().BranchLakes(), branchID(b).Equal):
		out.Lake = admin.LakeReady
	case err != nil:
		out.Lake, out.LakeError = admin.LakeError, err.Error()
	}
	return out
}

// DeleteBranch implements admin.Source.
func (s *Server) DeleteBranch(ctx context.Context, name string) error {
	tl, err := s.openPages()
	if err != nil {
		return err
	}
	if err := tl.DeleteBranch(ctx, name); err != nil {
		return err
	}
	if err := s.cat.DeleteBranch(ctx, name); err != nil {
		s.log.Warn("the lake of a branch could not be forgotten; trying again", "branch", name, "error", err)
	}
	s.lakes.wake()
	return nil
}

// openPages is the timeline, once there is one.
func (s *Server) openPages() (*pageserver.Timeline, error) {
	tl := s.pages.Load()
	if tl == nil {
		return nil, fault.New(fault.LakeNotRead, "pages are still being read: try again in a moment")
	}
	return tl, nil
}

// find says where a target lies, by reading the WAL since the nearest point before it.
func (s *Server) find(ctx context.Context, tl *pageserver.Timeline, to pageserver.Target) (pg.LSN, error) {
	from, err := tl.PointBefore(to)
	if err != nil {
		return 0, err
	}
	r, err := s.walOf(ctx, tl, from)
	if err != nil {
		return 0, err
	}
	return pageserver.Find(ctx, r, to)
}
