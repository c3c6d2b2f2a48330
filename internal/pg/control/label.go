package control

import (
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// BackupLabel is backup_label, which a base backup holds until its recovery is done (read_backup_label).
type BackupLabel struct {
	Start           pg.LSN // redo point recovery must begin at
	StartFile       string // WAL segment holding it
	CheckPoint      pg.LSN // the checkpoint record
	Method          string // "streamed"
	From            string // "primary" or "standby"
	StartTime       string // as the server printed it
	Label           string
	Timeline        pg.TimelineID
	IncrementalFrom pg.LSN // 17 and up: 0 for a full backup
}

// ParseBackupLabel reads a backup_label file. Lines it does not know are passed over, as the server does.
func ParseBackupLabel(b []byte) (l BackupLabel, err error) {
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if !ok {
			continue
		}
		if err := l.set(key, value); err != nil {
			return BackupLabel{}, corruptf("backup_label: %s: %v", key, err)
		}
	}
	if l.Start == 0 || l.CheckPoint == 0 {
		return BackupLabel{}, corruptf("backup_label lacks its WAL or checkpoint location")
	}
	return l, nil
}

func (l *BackupLabel) set(key, value string) (err error) {
	switch key {
	case "START WAL LOCATION":
		lsn, file, _ := strings.Cut(value, " (file ")
		l.StartFile = strings.TrimSuffix(file, ")")
		l.Start, err = pg.ParseLSN(lsn)
	case "CHECKPOINT LOCATION":
		l.CheckPoint, err = pg.ParseLSN(value)
	case "BACKUP METHOD":
		l.Method = value
	case "BACKUP FROM":
		l.From = value
	case "START TIME":
		l.StartTime = value
	case "LABEL":
		l.Label = value
	case "START TIMELINE":
		var n uint64
		n, err = strconv.ParseUint(value, 10, 32)
		l.Timeline = pg.TimelineID(n)
	case "INCREMENTAL FROM LSN":
		l.IncrementalFrom, err = pg.ParseLSN(value)
	}
	return err
}
