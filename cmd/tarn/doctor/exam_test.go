package doctor

import "github.com/tarn-db/tarn/ingest/receive"

// examOf is what a server of a version says.
func examOf(version string) *receive.Exam { return &receive.Exam{Version: version} }
