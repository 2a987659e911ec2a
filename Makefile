# weir: "make" prints what there is to make.

SHELL := /bin/bash

# "make module PATH=example.org/weir" means the path of the module. Programs are found along the
# PATH that make itself was given.
ifeq ($(origin PATH),command line)
MODULE := $(PATH)
override PATH := $(shell if [ -r /proc/$$PPID/environ ]; then \
	while IFS= read -r -d '' v; do [ "$${v%%=*}" != PATH ] || echo "$${v:5}"; done < /proc/$$PPID/environ; else echo "$$PATH"; fi)
endif

PREFIX     ?= /usr/local
DESTDIR    ?=
bindir     ?= $(PREFIX)/bin
docdir     ?= $(PREFIX)/share/doc/weir
mandir     ?= $(PREFIX)/share/man
bashdir    ?= $(PREFIX)/share/bash-completion/completions
zshdir     ?= $(PREFIX)/share/zsh/site-functions
fishdir    ?= $(PREFIX)/share/fish/vendor_completions.d
unitdir    ?= $(PREFIX)/lib/systemd/system
sysusersdir ?= $(PREFIX)/lib/sysusers.d
sysconfdir ?= /etc

OUT        ?= bin
CONFIG     ?= config.toml
BENCH      ?= .
BENCHTIME  ?= 1s
FUZZTIME   ?= 10s
INSTALL    ?= install
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null)
# What the program is built with: no symbols for debuggers, and no text/template,
# with which the linker cannot drop unused methods (docs/service.md).
LDFLAGS    ?= -s -w
TAGS       ?= urfave_cli_no_template
# Large clients of registries that the program has only if they are named: etcd.
WITH       ?=

# Run by version instead of standing in go.mod, whose requirements everybody
# who embeds weir would inherit.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this help
	@echo 'make TARGET [NAME=value ...]'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'names: WITH=etcd OUT=$(OUT) DIST=$(DIST) VERSION=$(VERSION) CONFIG=$(CONFIG) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) sysconfdir=$(sysconfdir)'
	@echo '       BENCH=$(BENCH) BENCHTIME=$(BENCHTIME) FUZZTIME=$(FUZZTIME)'

.PHONY: build
build: ## build OUT/weir, which needs no libraries
	CGO_ENABLED=0 go build -trimpath -tags '$(TAGS) $(WITH)' -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' -o '$(OUT)/weir' .

.PHONY: docs
docs: ## make a site of the documentation in OUT/docs, and check its links
	go run ./docs/site -out '$(OUT)/docs'

.PHONY: run
run: build ## build weir and start it with CONFIG
	$(abspath $(OUT))/weir run --config $(CONFIG)

# The race detector needs a C compiler. If there is none, the tests run without
# the detector.
RACE ?= $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# Tests of the server wait for time-outs more than for the processor, so several
# run at once, even with few cores. The server has the most tests and begins.
PARALLEL ?= 8

# Quick tests of one package more than there are cores run at once: a program with the race detector waits for a
# second before it ends.
PACKAGES ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

# "make check" runs go vet. With -trimpath the folder of a clone is not part of what is compiled, so all clones and
# worktrees of a user share the build cache.
GOTEST   := go test $(RACE) -trimpath -vet=off -timeout 20m -shuffle=on -parallel $(PARALLEL)

# The race detector would spoil it. Built like the program, most of it is in the build cache.
ALLOCATIONS := CGO_ENABLED=0 go test -trimpath -tags '$(TAGS)' -vet=off -run '^TestAllocations$$' ./bench

# Folders whose tests start other programs or take long.
SLOW     := admin/page/browser bench/cmd/discovery bench/cmd/loadtest bench/cmd/peers deploy deploy/container deploy/packages discover/etcd discover/zookeeper \
	internal/acme internal/clienttest internal/grpctest internal/registertest

.PHONY: test
test: ## run the quick tests in random order, with the race detector if there is a C compiler
	$(GOTEST) -p $(PACKAGES) -short $(filter-out $(addprefix %/,$(SLOW)),$(shell go list ./server ./...))
	$(ALLOCATIONS)

.PHONY: test-all
test-all: ## run all tests
	$(GOTEST) ./server ./...
	go test -tags clientset -run '^TestClientset$$' ./discover/kubernetes # would take minutes to build with the race detector
	$(ALLOCATIONS)
	cd deploy/helm/test && go test ./... # a module of its own, with Helm
	cd deploy/grafana/test && go test ./... # another one, with the schema of Grafana

SOAK_SECONDS ?= 60

.PHONY: soak
soak: ## run the long tests of reloads, mixed traffic, slow clients and memory at full size
	WEIR_SOAK_SECONDS=$(SOAK_SECONDS) go test -race -timeout 1h -v -run '^TestSoak$$' ./server
	WEIR_SOAK_REQUESTS=100000 WEIR_SOAK_RELOADS=75 WEIR_SOAK_SLOW=2000 WEIR_SOAK_GROWTH=200 PIPELINE_REQUESTS=100 go test -timeout 1h -v \
		-run '^(TestNoRequestFailsWhileReloading|TestManySlowClients|TestReloadsLeaveNothing|TestPipelineOwnAnswers)$$' ./server
	WEIR_SERIES=100000 go test -timeout 1h -v -run '^TestRequestsMakeNoSeries$$' ./server
	WEIR_SERVICE_SECONDS=600 go test -timeout 1h -v -run '^TestServicesLeaveNothing$$' ./server
	WEIR_SOAK_MIB=1024 WEIR_SOAK_IDLE=5000 go test -timeout 1h -v -run '^(TestLargeBodies|TestLargeObject|TestIdleConnections|TestFewDescriptors)$$' .

UPGRADES ?= 20
SOCKETS  ?= 200

.PHONY: upgrades
upgrades: ## upgrade a weir UPGRADES times at RATE requests a second with SOCKETS WebSockets; show latency and memory
	WEIR_SOAK_UPGRADES=$(UPGRADES) WEIR_SOAK_RATE=$(or $(RATE),2000) WEIR_SOAK_SOCKETS=$(SOCKETS) go test -timeout 1h -count=1 -v -run '^TestUpgrade$$' .

PURGES ?= 100

.PHONY: purges
purges: ## purge PURGES pages while Redis is full, away, empty, failed over and so on, and weir is killed; say how many stay purged
	WEIR_SOAK_PURGES=$(PURGES) go test -timeout 1h -count=1 -v -run '^TestPurge(Full|Stopped|Empty|Failover|StreamGone|Partition)$$' ./cache/redis
	WEIR_SOAK_PURGES=$(PURGES) go test -timeout 1h -count=1 -v -run '^TestPurge(Killed|Pending)$$' .

MODEL_STEPS ?= 1000000

.PHONY: model
model: ## compare the cache with its models over MODEL_STEPS random exchanges
	go test -timeout 1h -run '^Test(Model|Leak)$$' ./cache -model.steps=$(MODEL_STEPS)

.PHONY: model-faults
model-faults: ## build faults that give one client's answer to another into the cache, one by one; show after how many steps the model finds each
	go test -timeout 1h -count=1 -v -run '^TestLeakFindsFaults$$' ./cache -model.faults

.PHONY: conformance
conformance: build ## run the cache-tests suite checked out in SUITE against weir
	deploy/conformance.sh $(abspath $(OUT))/weir $(abspath $(SUITE))

.PHONY: h2spec
h2spec: ## run the conformance tests of HTTP/2 by the program H2SPEC (github.com/summerwind/h2spec)
	H2SPEC='$(abspath $(H2SPEC))' go test -count=1 -v -run '^TestH2Spec$$' ./internal/clienttest

.PHONY: check
check: ## look at the code: gofmt, go vet, staticcheck, and whether it builds for macOS
	@unformatted="$$(gofmt -l .)"; if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags etcd ./internal/cli
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 go build -o /dev/null .
	go run $(STATICCHECK) ./...

.PHONY: page
page: ## build the admin page from admin/page/src
	go test -count=1 -run '^TestBuilt$$' ./admin/page -update

.PHONY: screenshots
screenshots: ## take the pictures of the admin page in docs/ again (needs Chromium, some five minutes)
	go test -count=1 -timeout 20m -run '^TestScreenshots$$' ./admin/page/browser -screenshots $(abspath docs/pictures)

.PHONY: bench
bench: ## run the benchmarks that match BENCH
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem ./bench

.PHONY: outage
outage: ## show what clients notice while targets fail (four minutes; Linux)
	go run ./bench/cmd/outage

.PHONY: discovery
discovery: ## show that traffic follows each kind of source, with 500 requests per second (12 minutes)
	go run ./bench/cmd/discovery

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@set -e; grep -rlE --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			echo "$$target in $$(dirname "$$file")"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$(dirname "$$file")"; \
		done; \
	done

# Made by a weir for this machine, also when the one in OUT is for another. It is built with the same flags, so
# that the packages are compiled once.
HERE := GOOS= GOARCH= CGO_ENABLED=0 go run -trimpath -tags '$(TAGS)' -ldflags '$(LDFLAGS) -X main.version=$(VERSION)' .

.PHONY: man
man: ## make the manual page OUT/weir.1, and OUT/weir.bash, .zsh and .fish for completion
	@mkdir -p '$(OUT)'
	$(HERE) man > '$(OUT)/weir.1'
	for shell in bash zsh fish; do $(HERE) completion $$shell > "$(OUT)/weir.$$shell" || exit; done

.PHONY: install
install: build man ## install weir, its manual page, its configuration (never over an existing one) and its systemd unit
	$(INSTALL) -d '$(DESTDIR)$(bindir)' '$(DESTDIR)$(unitdir)' '$(DESTDIR)$(sysusersdir)' '$(DESTDIR)$(docdir)' \
		'$(DESTDIR)$(mandir)/man1' '$(DESTDIR)$(bashdir)' '$(DESTDIR)$(zshdir)' '$(DESTDIR)$(fishdir)'
	@[ -d '$(DESTDIR)$(sysconfdir)/weir' ] || $(INSTALL) -d -m 0750 '$(DESTDIR)$(sysconfdir)/weir' # as the unit has it
	$(INSTALL) -m 0644 '$(OUT)/weir.1' '$(DESTDIR)$(mandir)/man1/weir.1'
	$(INSTALL) -m 0644 '$(OUT)/weir.bash' '$(DESTDIR)$(bashdir)/weir'
	$(INSTALL) -m 0644 '$(OUT)/weir.zsh' '$(DESTDIR)$(zshdir)/_weir'
	$(INSTALL) -m 0644 '$(OUT)/weir.fish' '$(DESTDIR)$(fishdir)/weir.fish'
	$(INSTALL) -m 0755 '$(OUT)/weir' '$(DESTDIR)$(bindir)/weir'
	sed -e 's#/usr/local/bin/#$(bindir)/#g' -e 's#/usr/local/share/doc/weir/#$(docdir)/#g' -e 's#/etc/weir/#$(sysconfdir)/weir/#g' \
		deploy/systemd/weir.service > '$(OUT)/weir.service'
	$(INSTALL) -m 0644 '$(OUT)/weir.service' '$(DESTDIR)$(unitdir)/weir.service'
	$(INSTALL) -m 0644 deploy/systemd/weir.sysusers '$(DESTDIR)$(sysusersdir)/weir.conf'
	$(INSTALL) -m 0644 docs/install.md docs/service.md docs/listeners.md deploy/systemd/weir.socket '$(DESTDIR)$(docdir)/'
	@if [ -e '$(DESTDIR)$(sysconfdir)/weir/config.toml' ]; then \
		echo 'kept: $(DESTDIR)$(sysconfdir)/weir/config.toml'; \
	else \
		$(INSTALL) -m 0640 config.toml '$(DESTDIR)$(sysconfdir)/weir/config.toml'; \
	fi
	@echo 'next, as root: systemd-sysusers && chgrp -R weir $(sysconfdir)/weir && systemctl daemon-reload && systemctl enable --now weir'

.PHONY: uninstall
uninstall: ## remove what install put in place, but not the configuration
	rm -f '$(DESTDIR)$(bindir)/weir' '$(DESTDIR)$(unitdir)/weir.service' '$(DESTDIR)$(sysusersdir)/weir.conf'
	rm -f '$(DESTDIR)$(mandir)/man1/weir.1' '$(DESTDIR)$(bashdir)/weir' '$(DESTDIR)$(zshdir)/_weir' '$(DESTDIR)$(fishdir)/weir.fish'
	rm -f '$(DESTDIR)$(docdir)/install.md' '$(DESTDIR)$(docdir)/service.md' '$(DESTDIR)$(docdir)/listeners.md' '$(DESTDIR)$(docdir)/weir.socket'
	-rmdir '$(DESTDIR)$(docdir)'
	@echo 'kept: $(DESTDIR)$(sysconfdir)/weir'

DIST      ?= dist
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

.PHONY: dist
dist: ## build a release of VERSION into DIST: programs, .deb, .rpm, lists of contents (SBOM), checksums
	PLATFORMS='$(PLATFORMS)' TAGS='$(strip $(TAGS) $(WITH))' LDFLAGS='$(LDFLAGS)' deploy/packages/dist.sh '$(DIST)' '$(VERSION)'

IMAGE   ?= weir
BUILDAH ?= buildah

.PHONY: image
image: build ## make the container image IMAGE from OUT/weir, without downloading anything (buildah)
	rm -rf '$(OUT)/image'
	mkdir -p '$(OUT)/image/bin' '$(OUT)/image/deploy'
	cp '$(OUT)/weir' '$(OUT)/image/bin/'
	cp -r deploy/container '$(OUT)/image/deploy/'
	$(BUILDAH) build --format docker --isolation chroot --build-arg PROGRAM=built -t '$(IMAGE)' \
		-f '$(OUT)/image/deploy/container/Dockerfile' '$(OUT)/image'

.PHONY: module
module: ## move the module to PATH=example.org/weir, for whoever publishes it there
	@deploy/packages/module.sh '$(MODULE)'

.PHONY: clean
clean: ## remove what was built
	rm -rf '$(DIST)' '$(OUT)/image'
	rm -f '$(OUT)/weir' '$(OUT)/weir.service' '$(OUT)/caddy' '$(OUT)/weir.1' '$(OUT)/weir.bash' '$(OUT)/weir.zsh' '$(OUT)/weir.fish'

-include bench/Makefile.inc
