package pageserver

import (
	"slices"
	"strings"
)

// Immutable says whether the object of a key is written once: a layer or a state, whose names are never used again. A cache may keep
// those, and nothing else of a timeline.
func Immutable(key string) bool {
	rest, ok := strings.CutPrefix(key, "timelines/")
	_, name, found := strings.Cut(rest, "/")
	in := func(folder string) bool { return strings.HasPrefix(name, folder) }
	return ok && found && slices.ContainsFunc([]string{layersFolder, deltasFolder, "state/"}, in)
}
