# make test   everything that has to hold, installing what it needs into .cache/
# make test-long   the same with every major, larger corpora and more rounds
# make verify-corpus   redo of the WAL of the servers' own regression tests, each page compared: hours, and 5 GB of disk
# make demo   a live workload, then Postgres and the lake side by side
#
# With CI=true a missing server or reader fails a test; otherwise the test is skipped and says what it misses.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

comma := ,
CACHE := .cache
STATICCHECK_VERSION := v0.8.2
STATICCHECK := $(CACHE)/bin/staticcheck-$(STATICCHECK_VERSION)

# The newest release of each major version, and the oldest and the newest by name (internal/pgtest.Releases).
POSTGRES := 15 16 17 18 15.1 15.19 16.0 16.15 17.0 17.11 18.0 18.6

# The oracle redoes WAL and compares with the server's own page images; the end-to-end tests run the built binary.
ORACLE := ./pageserver/verify/...
E2E := ./internal/e2e/...
SLOW_TIMEOUT := 25m
# Packages whose tests start goroutines of ours; the race detector costs about five times the time.
RACE := ./ingest ./ingest/raftlog ./ingest/archive ./ingest/receive ./internal/objstore/... ./internal/s3test ./internal/admin/... ./internal/listen ./pageserver/pageapi/... ./pageserver/snapshots ./catalog/journal/...

.PHONY: build test lint generate mutants unit race oracle e2e engines demo bench bench-redo bench-redo-tpcc bench-copy bench-play bench-freshness bench-freshness-mixed bench-memory bench-s3 bench-commits bench-tpch bench-overhead bench-soak bench-pages bench-engines bench-fpw microbench fuzz corpus verify-corpus setup test-long test-minio clean distclean

build: bin/tarn

.PHONY: bin/tarn
bin/tarn:
	go build -o $@ ./cmd/tarn

# One step after the other: they share two cores, and the order is from quick to slow.
test:
	$(MAKE) setup
	$(MAKE) build
	$(MAKE) lint
	$(MAKE) unit
	$(MAKE) race
	$(MAKE) oracle
	$(MAKE) e2e
	$(MAKE) engines

setup: $(STATICCHECK)
	for version in $(POSTGRES); do internal/tools/install-postgres $$version; done
	internal/tools/install-readers
	internal/tools/install-versitygw
	internal/tools/install-engines
	internal/tools/install-rest-client

# A second opinion on S3: what is tested on versitygw, on minio.
test-minio: build
	minio="$$(internal/tools/install-minio)"; \
	  TARN_MINIO="$$minio" go test -count=1 -timeout 10m ./internal/s3test; \
	  TARN_MINIO="$$minio" go test -count=1 -timeout $(SLOW_TIMEOUT) $(E2E) -run 'TestS3'

# What does not fit beside each push: every major, larger corpora, more rounds.
test-long: test-minio
	TARN_LONG=1 TARN_CORPUS_TIME=30s TARN_STRESS_SECONDS=300 $(MAKE) test SLOW_TIMEOUT=3h

$(STATICCHECK):
	mkdir -p $(CACHE)/bin
	GOBIN="$$PWD/$(CACHE)/bin" go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION)
	mv $(CACHE)/bin/staticcheck $@

# Go from pageserver/pageapi/pagepb/page.proto.
generate:
	internal/tools/generate-pages

lint: $(STATICCHECK)
	@unformatted="$$(git ls-files -co --exclude-standard '*.go' | xargs -r gofmt -l)"; \
	  if [[ -n $$unformatted ]]; then echo "gofmt -w these: $$unformatted" >&2; exit 1; fi
	go vet ./...
	$(STATICCHECK) ./...

unit:
	go test -timeout 10m $$(go list ./... | grep -v -e /pageserver/verify -e /internal/e2e -e /internal/engines)

race:
	go test -race -timeout 10m $(RACE)
	go test -race -timeout 10m -run 'TestBatch|TestReaders' ./pageserver

oracle:
	go test -timeout $(SLOW_TIMEOUT) $(ORACLE)

e2e: build
	go test -count=1 -timeout $(SLOW_TIMEOUT) $(E2E)

# One lake through PyIceberg, DuckDB, Polars, Spark and Trino.
engines: build
	TARN_BIN=$$PWD/bin/tarn go test -count=1 -timeout 25m ./internal/engines

# WAL to prove redo with, and the proof: internal/corpus. RELEASES="15,18.6" and CORPORA="regress,slru" do a part; KEEP=1 keeps
# what verify-corpus made, which it else deletes one by one.
RELEASES ?= 15,16.15,17.11,18.6
CORPORA ?=
corpus verify-corpus: build
	for version in $(subst $(comma), ,$(RELEASES)); do internal/tools/install-postgres $$version; done
	for major in 15 17 18; do internal/tools/install-regress $$major; done
	go run ./internal/corpus $(if $(filter verify-corpus,$@),verify,make) -releases '$(RELEASES)' -corpora '$(CORPORA)'

demo: build
	bin/tarn demo

# What tarn promises, measured against a real server and recorded: benchmarks/README.md
bench: bench-redo bench-redo-tpcc bench-copy bench-play bench-freshness bench-freshness-mixed bench-memory bench-s3 bench-commits bench-tpch bench-overhead bench-soak bench-pages bench-engines bench-fpw
	go run ./benchmarks report

bench-redo-tpcc:
	go run ./benchmarks redo -workload tpcc -record

bench-freshness-mixed:
	go run ./benchmarks freshness -workload mixed -rate 5000 -interval 500ms -record

bench-redo bench-copy bench-play bench-freshness bench-memory bench-s3 bench-commits bench-tpch bench-overhead bench-soak bench-pages bench-engines bench-fpw: bench-%:
	go run ./benchmarks $* -record

# The packages' own benchmarks.
microbench:
	go test -run '^$$' -bench . -benchmem ./...

# Every fuzz target for a moment; FUZZTIME=10m for a night.
FUZZTIME ?= 10s
fuzz:
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
	  done; \
	done

# Redo with each statement deleted and each condition negated in turn; what no test notices is listed.
mutants:
	go run ./internal/tools/mutate-redo

clean:
	rm -rf bin

distclean: clean
	rm -rf $(CACHE)
