package server

import (
	"testing"

	"github.com/tarn-db/tarn/materialize"
)

func TestTableNote(t *testing.T) {
	leftOut := []materialize.LeftOut{{Name: "span", Reason: "type tsvector is not handled yet"}}
	outOfRange := []materialize.OutOfRange{{Column: "day", Values: 3}, {Column: "at", Values: 1}}
	for _, c := range []struct {
		status materialize.TableStatus
		want   string
	}{
		{materialize.TableStatus{}, ""},
		{materialize.TableStatus{Error: "it is broken", LeftOut: leftOut, OutOfRange: outOfRange}, "it is broken"},
		{materialize.TableStatus{LeftOut: leftOut}, "columns left out: span (type tsvector is not handled yet)"},
		{materialize.TableStatus{OutOfRange: outOfRange}, "values out of Iceberg's range, written as null: day (3); at (1)"},
		{materialize.TableStatus{LeftOut: leftOut, OutOfRange: outOfRange[:1]},
			"columns left out: span (type tsvector is not handled yet); values out of Iceberg's range, written as null: day (3)"},
	} {
		if got := tableNote(c.status); got != c.want {
			t.Errorf("note %q, want %q", got, c.want)
		}
	}
}
