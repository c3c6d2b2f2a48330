package fault

import "slices"

// Entry explains one code.
type Entry struct {
	Code    Code   `json:"code"`
	Summary string `json:"summary"` // what is the matter, in a few words
	Cause   string `json:"cause"`   // how it comes about
	Fix     string `json:"fix"`     // what to do
}

// Lookup finds a code's entry.
func Lookup(c Code) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(registry, c, func(e Entry, c Code) int { return int(e.Code) - int(c) })
	if !ok {
		return Entry{}, false
	}
	return registry[i], true
}

// Entries lists every code in order.
func Entries() []Entry { return slices.Clone(registry) }

// Invariant: sorted by code.
var registry = []Entry{
	{Unexpected, "unexpected failure", "Something failed in a way that tarn has no code for, such as a disk or network error deep in its work.", "Read the message; run `tarn doctor`. If nothing there explains it, report the whole line and the log around it."},

	{Usage, "the command line makes no sense as written", "A verb, flag or argument is unknown, missing or of the wrong form.", "The message names it and what to write; --help after a verb lists its flags."},
	{Setting, "a setting cannot be used", "A value in tarn.yaml, a variable or a flag does not parse, is out of range, or contradicts another.", "The message says where it was written and what to write; `tarn config print` shows every value and its origin."},
	{ConfigFile, "the configuration file cannot be read", "The file named by --config is not there, not readable, too long, or not YAML.", "Name a readable file; check quotes and indentation at the line that is named."},
	{UnknownKey, "tarn.yaml has an unknown key", "A key is misspelled, or is in the wrong section.", "The message names the nearest known key; docs/OPERATING.md lists all."},
	{SettingMissing, "a required setting is missing", "store, data_dir or source.url is set nowhere.", "Set it in tarn.yaml, by its TARN_ variable or by its flag."},
	{OpenListener, "a listener is open to other hosts without protection", "A listener's address can be reached from other hosts, and nothing asks there who is calling.", "Listen on 127.0.0.1, or do what the message says to protect it."},
	{FormatDown, "a table's Iceberg format version does not go back", "A rule of tables says format_version: 2 of a table that is in the lake in version 3; Iceberg has no way back.", "Write format_version: 3 for it. To have it in version 2 all the same, exclude it for one publication, which drops it from the lake, and include it again."},

	{SourceURL, "the source's connection string cannot be used", "source.url is no libpq URI or key=value string, or names a file or option that does not work.", "Write it as postgres://user@host:5432/db?sslmode=verify-full."},
	{SourceUnreachable, "no connection to the source", "No Postgres answers at that address, the network or TLS fails, or the server hangs.", "Check that the server runs, listen_addresses, the port, firewalls and sslmode. A tarn that was attached before goes on trying."},
	{SourceStarting, "the source starts up or shuts down", "Postgres does not take connections at the moment.", "Wait; tarn goes on trying if it was attached before."},
	{SourcePassword, "the source refuses the password", "The replication role's password is missing or wrong.", "Set PGPASSWORD or a password file, or ALTER ROLE replicator PASSWORD '...'."},
	{SourceHBA, "pg_hba.conf lets the role in for no replication connection", "Replication needs a line of its own: the database column must say replication; `all` does not include it.", "Add the line: hostssl replication replicator <address>/32 scram-sha-256, then SELECT pg_reload_conf()."},
	{SourceRole, "the role may not replicate", "The role does not exist, may not log in, or lacks REPLICATION.", "CREATE ROLE replicator LOGIN REPLICATION PASSWORD '...', or ALTER ROLE replicator REPLICATION."},
	{SourceVersion, "the source's version is not supported", "tarn knows the on-disk formats of PostgreSQL 15 to 18.", "Attach to one of those."},
	{SourceWALLevel, "the source writes no WAL for replication", "wal_level is minimal.", "ALTER SYSTEM SET wal_level = replica; ALTER SYSTEM SET max_wal_senders = 10; restart the server."},
	{SourceBlockSize, "the source is built with another page size", "The server was compiled with pages other than 8 KiB.", "Attach to a server with block_size 8192."},
	{SourceStandby, "the source is a standby", "The server is in recovery: it is a replica of another.", "Attach to its primary."},
	{SourceWalsenders, "the source has no free walsender", "max_wal_senders, or the role's or server's connection limit, is used up.", "ALTER SYSTEM SET max_wal_senders = <more>; restart the server; or end a replication client that nobody needs."},
	{SourceSlots, "the source has no free replication slot", "max_replication_slots is used up, or 0.", "ALTER SYSTEM SET max_replication_slots = <more>; restart the server; or drop a slot that nobody uses."},
	{SlotName, "the slot's name is not allowed", "source.slot has characters that Postgres does not allow in a slot's name.", "Use a-z, 0-9 and _, up to 63 of them."},
	{SlotInUse, "the slot is in use", "Another client streams from the slot: another tarn, or a connection of this one that the server has not given up yet.", "Stop the other client, or give this tarn its own source.slot. A connection that died goes away after wal_sender_timeout."},
	{SlotLogical, "the slot is a logical one", "source.slot names a slot that decodes; tarn streams physical WAL.", "Name another source.slot: tarn makes its own."},
	{SlotMissing, "the slot is not there", "It was dropped, or the source is a promoted standby, to which slots do not follow.", "`tarn resync --all` starts over with a new one."},
	{SlotLost, "the server has invalidated the slot", "tarn was away for longer than max_slot_wal_keep_size allows, and the server removed WAL it still needed.", "SELECT pg_drop_replication_slot('tarn'), raise max_slot_wal_keep_size, then `tarn resync --all`."},
	{SourceOther, "the source is another cluster", "The server's system identifier is not that of the cluster the store and data_dir came from.", "Point source.url at the original cluster, or use an empty data_dir and store."},
	{SourceCommand, "the source refuses a command", "The server answered a replication command with an error of its own.", "The message has the server's words; its log has more."},
	{WALGap, "WAL that tarn needs is gone", "The source no longer has WAL that follows what tarn has: the slot was dropped or lost, or data_dir was lost while source.synchronous was true.", "`tarn resync --all` takes a new base backup. To avoid it, raise max_slot_wal_keep_size."},
	{Diverged, "the source's history is another than what tarn has received", "The source failed over to a standby that had not received all of the WAL, further back than history.window reaches, or was restored from a backup.", "`tarn resync --all` copies the source as it is now."},
	{SourceFormer, "the source is a former primary", "The server is on a timeline that was left: another server was promoted, and tarn has followed it.", "Point source.url at the promoted server."},
	{SourceHistory, "the source does not have the history of its timeline", "The timeline's history file is missing from the server's pg_wal.", "Put the file back from the WAL archive, or from the former primary's pg_wal."},
	{FullPageWrites, "full_page_writes is not switched off", "A primary on its own disk could not make torn pages good after a power loss, and nothing says that somebody else will; or the store does not have what `tarn repair` needs.", "Set source.atomic_writes: true if the source's storage writes 8 KiB whole, or give --force and run `tarn repair` before each start after a crash."},

	{StoreURL, "the store's URL cannot be used", "It has no scheme that tarn knows, or no absolute path or bucket.", "Write file:///dir or s3://bucket/prefix."},
	{StoreOpen, "the store cannot be opened", "The folder or bucket cannot be reached with the rights and settings given.", "Check the path or bucket, endpoint, region and credentials; `tarn doctor` tries each."},
	{StoreWrite, "the store cannot be written", "The user or credentials tarn runs with may not write there, or the disk is full.", "Give the right to write and delete below the store's URL, or name another store."},
	{StoreNotConditional, "the store ignores conditional puts", "If-None-Match or If-Match was not honoured: two writers could both believe that they had won.", "Use a store that honours them, such as Amazon S3, MinIO, versitygw or a folder."},
	{StoreStale, "the store does not show what was just written", "A cache or an eventually consistent replica answers in front of the store.", "Reach the store directly."},
	{StoreOther, "the store belongs to another cluster", "The store holds WAL or pages of a cluster with another system identifier.", "Give this source a store of its own, or attach to the cluster the store came from."},
	{StoreTaken, "another tarn has taken over the store", "Two tarns were started on one store; the newer one owns it.", "End one of the two, and start this one again if it is to go on."},
	{StoreNewer, "the store was written by a newer tarn", "A file in the store has a format version that this release does not know.", "Run the newer release."},
	{StoreDamaged, "an object in the store is damaged", "Its checksum, length or form is wrong: it was cut, changed or overwritten by something else.", "Put it back from the bucket's versions or a backup; the message names it. WAL and pages can be rebuilt with `tarn resync --all`."},
	{StoreObjectMissing, "an object is missing from the store", "Something other than tarn removed it, such as a lifecycle rule of the bucket.", "Exempt tarn's prefix from such rules; put the object back, or `tarn resync --all`."},
	{StoreNoWAL, "the store holds no WAL", "Nothing was archived there, or the WAL asked for is not.", "Check the store's URL; `tarn status` shows what is archived."},
	{StoreConflict, "a conditional put lost", "Another process wrote the same object first.", "Make sure that one tarn alone writes to the store."},
	{StoreDenied, "the store refuses the request", "The credentials may not do what tarn needs there.", "Allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the prefix, and s3:ListBucket on the bucket."},
	{StoreCredentials, "no valid credentials for the store", "None were found, or the key, secret or session token is wrong or has expired.", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or s3: in tarn.yaml; renew a session token."},
	{StoreRegion, "the bucket is in another region", "The request was signed for a region that is not the bucket's.", "Set AWS_REGION or s3.region to the bucket's region."},
	{StoreUnreachable, "the store does not answer", "The endpoint is wrong, the network does not lead there, TLS fails, or the request took too long.", "Check AWS_ENDPOINT_URL or s3.endpoint, s3.ca_bundle and the network."},
	{StoreFailed, "the store answers with an error", "The object store failed a request, or does not know it.", "The message has its words; see the store's own log."},
	{StoreVend, "no credential to hand out", "s3.vend is on, and the STS gave no credential for a table: it does not answer, does not know the role, or does not let tarn have it. tarn's own keys are never handed out instead.", "Check s3.sts_endpoint and s3.role_arn; allow tarn's credentials sts:AssumeRole on the role. `tarn doctor` tries it."},
	{StoreVendWide, "a credential handed out reaches too far", "The store does not keep a session to its policy: what is meant for one table reads or writes others.", "Use a store whose STS honours session policies, such as Amazon S3 or MinIO, or set s3.vend to off and give engines keys of their own."},

	{PortTaken, "a port is taken", "Another process listens on an address tarn wants.", "Stop it, or set another address for that listener."},
	{PortUnusable, "an address cannot be listened on", "It is no address of this machine, or the port needs rights that tarn does not have.", "Set another address for that listener."},
	{DataDirUnusable, "data_dir cannot be used", "The folder cannot be made or written by the user tarn runs as.", "Give that user the right, or set another data_dir."},
	{DataDirInUse, "data_dir is in use by another tarn", "A process holds the folder's LOCK.", "Stop that one, or give this one its own data_dir."},
	{DataDirOther, "data_dir belongs to another cluster", "The WAL log there came from a cluster with another system identifier.", "Give this source a data_dir of its own."},
	{DiskFull, "the disk of data_dir is full", "Less than a GiB is free where data_dir lies: it could not hold the last GiB of WAL.", "Make room there, or set data_dir on a larger disk."},
	{OpenFiles, "too few files may be open", "The limit on open files of the user tarn runs as is below what it needs.", "ulimit -n 4096, or LimitNOFILE=4096 in the systemd unit."},
	{TargetTaken, "there is something where a data directory is to be written", "The folder named, or the location of one of its tablespaces, is not empty, or is no folder.", "Name a folder that is empty or not there yet. A tablespace whose old location is in use goes elsewhere with --tablespace-mapping OLD=NEW."},

	{Corrupt, "a WAL record, page or file cannot be read", "Bytes are not what Postgres writes: damage, or a record of a minor release that tarn does not know.", "Keep the WAL and report the line, which names LSN, relation and block. `tarn resync --all` goes on from a new base backup."},
	{WALFolder, "a folder holds no WAL that can be read", "--wal names a folder that is not there or has no WAL segments.", "Name a pg_wal folder or an archive of whole segments."},
	{BaseFolder, "a folder is no base to redo from", "--base names no data directory of a server that was stopped cleanly.", "Name a copy of a data directory taken while the server was stopped."},
	{WALDiffers, "redo and the server disagree", "A page redone from the WAL is not the image the server wrote, or there was no image to compare.", "Report the lines printed, with the WAL. Images are there only if the server ran with wal_consistency_checking = 'all'."},
	{ResyncFailed, "a resync cannot be done", "The new base backup could not be begun or noted in the store.", "The message says why; what is published is served on. Ask again once that is put right."},
	{WALMinimal, "the source has run with wal_level=minimal", "Its WAL has a gap where changes were not logged.", "Set wal_level = replica, then `tarn resync --all`."},
	{BeforeHistory, "the page store does not reach back that far", "history.window or history.max_wal has let the states from before go, or the LSN lies before the base backup or within it.", "Ask for a later LSN or time; `tarn status` shows where history begins. To keep more of it, raise history.window and history.max_wal."},
	{BeyondWAL, "the WAL does not reach that far", "The LSN lies behind what the store has archived, because it has not been written, or has not arrived there yet.", "Ask for an earlier LSN, or wait: `tarn wait --lsn X` returns when it is published, and what is published is archived."},
	{BranchUnknown, "the store has no such branch", "No pages of that branch are in the store: its name is wrong, it was deleted, or no base backup was ever finished.", "Name another branch, or another store. The first branch is `main`."},
	{PageMissing, "there is no such page", "At that LSN the relation, its fork or the block did not exist.", "Check the numbers with pg_relation_filepath(), and the LSN."},
	{PagesUnknown, "a relation's pages are not known", "A record of an extension's own resource manager changed the relation, without an image of the page: only the extension can redo it.", "Rewrite the relation (VACUUM FULL, REINDEX) if it is to be read from the page store again; everything else is not touched by it."},
	{BranchName, "not a branch's name", "Names are part of object names and of warehouses: lower-case letters, digits, - and _, at most 63, the first one no - or _.", "Choose such a name."},
	{BranchExists, "the branch exists", "A branch of that name is there already. `main` always is.", "Choose another name, or `tarn branch delete` it first."},
	{BranchInUse, "the branch cannot be deleted", "Another branch was made from it, or it is `main`, which follows the source.", "Delete the branches made from it first: `tarn branch list` shows them."},
	{PagesOfOther, "the pages are of another cluster or timeline", "A client of the page service named a system identifier or a WAL timeline, and the pages are of another.", "Reach the service of the right cluster; after a promotion, name the new timeline."},
	{PageServiceBusy, "the page service reads too much of the past at once", "Each former LSN that no layers lead to is redone into a state of its own, and as many as are kept are in use; or as many LSNs are leased as may be.", "Try again when other clients are done, or read at fewer LSNs at a time. `tarn status` says how many are leased."},
	{RepairState, "the data directory is not that of a crashed primary", "It is a standby's, or holds a backup that has not been recovered: recovery does not begin where pg_control says.", "Start it as it is. `tarn repair` is for a primary that ran with full_page_writes off and was not shut down."},
	{RepairRunning, "the server still runs", "A postmaster, or a backend that has outlived it, has the data directory open.", "Stop it: pg_ctl stop -D <data directory>. If a process that is no server has its number, remove postmaster.pid."},
	{RepairOther, "the data directory and the store are of different clusters", "The system identifiers differ, or the WAL timelines: the server was promoted and tarn has not followed it, or it is a former primary.", "Name the store of the tarn that followed this very server; of a former primary make a standby with pg_rewind or anew."},
	{RepairWAL, "the server's WAL is not what the store has", "The server has gone another way than what tarn received; or its disk has lost WAL that it had reported as durable, so that pages may be newer than its WAL.", "Do not start it. `tarn basebackup` writes a data directory as of the end of what the store has."},

	{TableUnknown, "no such table in the lake", "The name is not one that `tarn tables` lists.", "Write database.schema.table as `tarn tables` prints it."},
	{TableError, "a table is not published any more", "A value, type or page of it cannot be put into the lake; it stays at its last good LSN and holds nobody else up.", "`tarn tables` says why. Put that right, then `tarn resync TABLE`."},
	{LakeNotRead, "the lake is still being read", "The server has just started.", "Try again in a moment."},
	{LakeBehind, "the lake is ahead of the source", "After a failover below what was published, nothing is published until the source has passed that LSN again.", "SELECT pg_switch_wal() on the source moves it on by a segment."},
	{ServerRefused, "the server cannot do that now", "The server's present state does not allow what was asked.", "The message says what it waits for; `tarn status` shows the state."},
	{ExportTaken, "there is something where a table is to be exported", "The location named is not empty: a table is there, other files, or an export that is under way or was killed.", "Name another --to. What a killed export left, with tarn-export.json in it and no metadata, may be removed."},
	{ExportPassed, "a table went on while it was exported", "Files of a publication are kept for an hour after it was superseded; copying them took longer, or --at was about to leave.", "Export again, without --at or with a later one."},
	{LSNNotKept, "the lake is not kept at that LSN", "Publications can be read for an hour after they were superseded, and none above the newest.", "Name an LSN in between; GET /api/v1/publications lists them."},
	{ExportFormat, "a table has files that cannot be exported", "`tarn export` writes tables of Iceberg format version 2, and the table has delete files that are neither Parquet nor deletion vectors.", "Let engines read the table where it is."},

	{NoServer, "no tarn answers", "Nothing listens on the address, or the network does not lead there.", "Start `tarn serve`, or give its address with --http, --config or TARN_HTTP."},
	{NoAnswer, "tarn does not answer", "The process listens and says nothing: it hangs, was stopped, or the machine is overloaded.", "See whether the process runs."},
	{NotTarn, "something else answers there", "The address is not tarn's http.listen.", "Give tarn's address with --http, --config or TARN_HTTP."},
	{WaitTimeout, "the LSN was not reached in time", "The lake, or the stage asked for, is behind.", "`tarn status` shows which stage; wait longer with --timeout."},
	{RequestBad, "the server cannot make sense of a request", "The request has a missing or wrong parameter; client and server may be of different releases.", "The message says what to send."},
	{ServerFailed, "the server failed to answer a request", "It ran into an error while answering.", "The message and the server's log say why."},
	{ServerStopped, "the stage will not move on", "The timeline has stopped, or the server is stopping.", "`tarn status` shows the state and what to do about it."},
	{TokenNeeded, "tarn asks for a token", "The listener's tokens_file is set, and the request carries no token of it.", "Give --config FILE, or set TARN_HTTP_TOKEN to a token of http.tokens_file; a client of the page service sends one of pages.tokens_file."},
	{CertificateUntrusted, "tarn's certificate is not trusted", "The server's certificate is signed by a CA this machine does not know, is for another name, or has expired.", "Name its CA with TARN_HTTP_CA, or give the server's own file with --config."},

	{DemoDiffers, "the lake is not equal to Postgres", "A reader saw other rows than Postgres has.", "This is a fault of tarn: report what was printed."},
	{DemoReader, "no reader for the demo", "No Python with DuckDB was found, and none could be installed.", "Set TARN_PYTHON to a Python that has duckdb, or let the machine reach a package index."},
	{DemoPostgres, "no Postgres for the demo", "No Postgres of that version is installed, and none could be downloaded.", "Install PostgreSQL 15 to 18, or let the machine reach a package repository."},

	{DoctorFailed, "the doctor found what must be put right", "At least one check of `tarn doctor` failed.", "Do what is printed below each failed check."},
}
