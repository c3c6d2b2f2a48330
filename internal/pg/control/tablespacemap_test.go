package control_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
)

func TestParseTablespaceMap(t *testing.T) {
	got := ""
	note := func(oid pg.OID, path string) { got += fmt.Sprintf("%d=%q ", oid, path) }
	if err := control.ParseTablespaceMap([]byte("16400 /a b\n16401 /c\\\nd\\\\e\\\r\r\n"), note); err != nil || got != `16400="/a b" 16401="/c\nd\\e\r" ` {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"x /a\n", "16400\n", "0 /a\n", "16400 /a", "16400 \n"} {
		if err := control.ParseTablespaceMap([]byte(bad), note); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
