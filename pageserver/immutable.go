package pageserver

import "strings"

// Immutable says whether the object of a key is written once: a layer or a state, whose names are never used again. A cache may keep
// those, and nothing else of a timeline.
func Immutable(key string) bool {
	rest, ok := strings.CutPrefix(key, "timelines/")
	_, name, found := strings.Cut(rest, "/")
	return ok && found && (strings.HasPrefix(name, "layers/") || strings.HasPrefix(name, "state/"))
}
