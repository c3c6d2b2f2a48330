package config

import (
	"slices"
	"testing"
)

func TestPartitionBy(t *testing.T) {
	got, err := parsePartitionBy([]string{"day(created_at)", "bucket(16, id)", "truncate( 4 , name )", "region", `"a (b)"`, `hour("x"", y")`})
	want := []PartitionField{{"day", "created_at"}, {"bucket[16]", "id"}, {"truncate[4]", "name"}, {"identity", "region"}, {"identity", "a (b)"}, {"hour", `x", y`}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, v := range []string{"", "day()", "day(a, b)", "bucket(16)", "bucket(99999999999, a)", "a b", `"a`, "lower(a)", "(a)"} {
		if got, err := parsePartitionBy([]string{v}); err == nil {
			t.Errorf("%q is taken as %v", v, got)
		}
	}
}
