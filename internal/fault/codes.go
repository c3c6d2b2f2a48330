package fault

// The codes. The hundreds say where to look: 1 command line and configuration, 2 source, 3 store, 4 this machine,
// 5 WAL and pages, 6 tables, 7 talking to a running tarn, 8 demo, 9 doctor.
//
// Invariant: a number never changes its meaning; testdata/codes.golden pins them.
const (
	Unexpected Code = 1

	Usage          Code = 101
	Setting        Code = 102
	ConfigFile     Code = 103
	UnknownKey     Code = 104
	SettingMissing Code = 105
	OpenListener   Code = 106
	FormatDown     Code = 110

	SourceURL         Code = 201
	SourceUnreachable Code = 202
	SourceStarting    Code = 203
	SourcePassword    Code = 204
	SourceHBA         Code = 205
	SourceRole        Code = 206
	SourceVersion     Code = 207
	SourceWALLevel    Code = 208
	SourceBlockSize   Code = 209
	SourceStandby     Code = 210
	SourceWalsenders  Code = 211
	SourceSlots       Code = 212
	SlotName          Code = 213
	SlotInUse         Code = 214
	SlotLogical       Code = 215
	SlotMissing       Code = 216
	SlotLost          Code = 217
	SourceOther       Code = 218
	SourceCommand     Code = 219
	WALGap            Code = 220
	Diverged          Code = 221
	SourceFormer      Code = 222
	SourceHistory     Code = 223
	FullPageWrites    Code = 224

	StoreURL            Code = 301
	StoreOpen           Code = 302
	StoreWrite          Code = 303
	StoreNotConditional Code = 304
	StoreStale          Code = 305
	StoreOther          Code = 306
	StoreTaken          Code = 307
	StoreNewer          Code = 308
	StoreDamaged        Code = 309
	StoreObjectMissing  Code = 310
	StoreNoWAL          Code = 311
	StoreConflict       Code = 312
	StoreDenied         Code = 313
	StoreCredentials    Code = 314
	StoreRegion         Code = 315
	StoreUnreachable    Code = 316
	StoreFailed         Code = 317
	StoreVend           Code = 318
	StoreVendWide       Code = 319

	PortTaken       Code = 401
	PortUnusable    Code = 402
	DataDirUnusable Code = 403
	DataDirInUse    Code = 404
	DataDirOther    Code = 405
	DiskFull        Code = 406
	OpenFiles       Code = 407
	TargetTaken     Code = 408

	Corrupt         Code = 501
	WALFolder       Code = 502
	BaseFolder      Code = 503
	WALDiffers      Code = 504
	ResyncFailed    Code = 505
	WALMinimal      Code = 506
	BeforeHistory   Code = 507
	BeyondWAL       Code = 508
	BranchUnknown   Code = 509
	PageMissing     Code = 510
	PagesUnknown    Code = 511
	BranchName      Code = 512
	BranchExists    Code = 513
	BranchInUse     Code = 514
	PagesOfOther    Code = 515
	PageServiceBusy Code = 516

	RepairState   Code = 520
	RepairRunning Code = 521
	RepairOther   Code = 522
	RepairWAL     Code = 523

	TableUnknown  Code = 601
	TableError    Code = 602
	LakeNotRead   Code = 603
	LakeBehind    Code = 604
	ServerRefused Code = 605
	ExportTaken   Code = 606
	ExportPassed  Code = 607
	LSNNotKept    Code = 608
	ExportFormat  Code = 609

	NoServer             Code = 701
	NoAnswer             Code = 702
	NotTarn              Code = 703
	WaitTimeout          Code = 704
	RequestBad           Code = 705
	ServerFailed         Code = 706
	ServerStopped        Code = 707
	TokenNeeded          Code = 708
	CertificateUntrusted Code = 709

	DemoDiffers  Code = 801
	DemoReader   Code = 802
	DemoPostgres Code = 803

	DoctorFailed Code = 901
)
