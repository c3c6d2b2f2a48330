package lake

import "fmt"

// Root is the key prefix of everything a table keeps in the store, without a trailing slash: Iceberg's table location.
// It is stable across renames and never used again by another table. Data and delete files belong under Root()+"/data/",
// the catalog writes under Root()+"/metadata/". An object beside a file, such as its TID set, is named KEY.SUFFIX and
// lives exactly as long as the object KEY.
//
// What lies under Root() and is not part of a publication may be removed once its writer is fenced.
func (id TableID) Root() string {
	return fmt.Sprintf("lake/%d/%d-%016X", id.DB, id.Rel, uint64(id.Incarnation))
}
