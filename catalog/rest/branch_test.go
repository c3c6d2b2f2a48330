package rest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestBranchWarehouse: database@branch shows what the branch's lake has and goes on showing it; names that could be two things are refused.
func TestBranchWarehouse(t *testing.T) {
	store := objstore.NewMem()
	c, err := catalog.Open(t.Context(), catalog.Options{Store: store, MaintainEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	tables := []*laketest.Table{
		laketest.New(store, 100, lake.TableName{Database: "app", Namespace: "public", Name: "t"}), laketest.New(store, 101, lake.TableName{Database: "app@both", Namespace: "public", Name: "t"}),
		laketest.New(store, 102, lake.TableName{Database: "app@home", Namespace: "public", Name: "t"}),
	}
	var changes []lake.TableChange
	for _, table := range tables {
		ch := table.Change()
		ch.Create = true
		changes = append(changes, ch)
	}
	publish := func(p lake.Publication) {
		t.Helper()
		if err := c.Publish(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	publish(lake.Publication{LSN: 0x100, Timeline: 1, SystemID: 1, Tables: changes})
	for _, name := range []string{"dev", "both"} {
		w, err := c.BeginBranch(t.Context(), catalog.BranchID{Name: name, LSN: 0x100})
		if err == nil {
			err = w.Finish(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	ch := tables[0].Change()
	ch.Name.Name = "renamed"
	publish(lake.Publication{LSN: 0x200, Timeline: 1, SystemID: 1, Tables: []lake.TableChange{ch}})
	c.Pending(map[string]error{"soon": nil, "bad": errors.New("no pages")})
	cl := serve(t, rest.Options{View: c.View()})

	a := cl.do("GET", "/v1/config?warehouse=app%40dev")
	if p := a.body["overrides"].(map[string]any)["prefix"]; a.code != 200 || p != "app~40dev" {
		t.Fatalf("%d %s", a.code, a.raw)
	}
	if a := cl.do("GET", "/v1/app~40dev/namespaces/public/tables/t"); a.code != 200 || !strings.Contains(a.raw, `"tarn.branch":"dev"`) {
		t.Errorf("%d %s", a.code, a.raw)
	}
	if a := cl.do("GET", "/v1/app~40dev/namespaces/public"); a.code != 200 || !strings.Contains(a.raw, `"tarn.lsn":"0/100"`) {
		t.Errorf("%d %s", a.code, a.raw)
	}
	cl.refused(cl.do("GET", "/v1/app~40dev/namespaces/public/tables/renamed"), 404, "NoSuchTableException", "at LSN 0/100")
	if a := cl.do("GET", "/v1/app~40main/namespaces/public/tables/renamed"); a.code != 200 {
		t.Errorf("app@main: %d %s", a.code, a.raw)
	}
	if a := cl.do("GET", "/v1/app~40home/namespaces/public/tables/t"); a.code != 200 || strings.Contains(a.raw, "tarn.branch") {
		t.Errorf("a database with an @ in its name: %d %s", a.code, a.raw)
	}
	cl.refused(cl.do("GET", "/v1/config?warehouse=app@both"), 400, "BadRequestException", "rename")
	cl.refused(cl.do("GET", "/v1/config?warehouse=other@dev"), 404, "NoSuchWarehouseException", "no table of that database")
	cl.refused(cl.do("GET", "/v1/config?warehouse=app@soon"), 503, "ServiceUnavailableException", "is being made")
	cl.refused(cl.do("GET", "/v1/config?warehouse=app@bad"), 503, "ServiceUnavailableException", "no pages")
}
