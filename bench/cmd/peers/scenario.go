package main

import (
	"fmt"
	"slices"
	"strings"

	"weir/bench"
	"weir/bench/load"
)

// scenario is one thing that all peers do that can.
type scenario struct {
	id, title string
	path      string
	body      int64
	conns     int
	// rate is the fixed rate of the latency measurement, per second; it must
	// be one that every peer can hold.
	rate  float64
	tls   bool
	cache bool
	// compress says that the peer compresses with gzip; body is the length before that.
	compress bool
	// streams, if not 0, makes the load one of HTTP/2, by h2load and over TLS, with so many streams on each
	// connection.
	streams int
	// options are weirs with other settings that weir is compared with, instead of
	// with other peers.
	options []string
	idle    bool // memory at the start and of idle connections
	entry   bool // memory that weir charges for a cached entry
	// requests are sent in turn instead of the one for path; nil means that one.
	requests [][]byte
	warm     int64 // requests of the warm-up, besides its time
}

func scenarios() []scenario {
	return []scenario{
		{id: "pass-1k-c64", title: "pass through 1 KiB, 64 connections", path: "/bytes/1024", body: 1 << 10, conns: 64, rate: 4000},
		{id: "pass-1k-c512", title: "pass through 1 KiB, 512 connections", path: "/bytes/1024", body: 1 << 10, conns: 512, rate: 4000},
		{id: "pass-10k", title: "pass through 10 KiB, 64 connections", path: "/bytes/10240", body: 10 << 10, conns: 64, rate: 4000},
		{id: "pass-100k", title: "pass through 100 KiB, 64 connections", path: "/bytes/102400", body: 100 << 10, conns: 64, rate: 2000},
		{id: "pass-1m", title: "pass through 1 MiB, 64 connections", path: "/bytes/1048576", body: 1 << 20, conns: 64, rate: 300},
		{id: "browser", title: "browser's request and page of 10 KiB, 64 connections", path: "/page/10240", body: 10 << 10, conns: 64, rate: 4000,
			requests: [][]byte{load.Browser(bench.CertificateName, "/page/10240")}},
		{id: "tls-1k", title: "TLS, pass through 1 KiB, 64 connections", path: "/bytes/1024", body: 1 << 10, conns: 64, rate: 4000, tls: true},
		{id: "hit-1k", title: "cache hit 1 KiB, 64 connections", path: "/bytes/1024", body: 1 << 10, conns: 64, rate: 8000, cache: true},
		{id: "hit-10k", title: "cache hit 10 KiB, 64 connections", path: "/bytes/10240", body: 10 << 10, conns: 64, rate: 8000, cache: true},
		{id: "hit-100k", title: "cache hit 100 KiB, 64 connections", path: "/bytes/102400", body: 100 << 10, conns: 64, rate: 4000, cache: true},
		{id: "hit-gzip-10k", title: "cache hit 10 KiB of text with gzip, 64 connections", path: "/text/10240", body: 10 << 10, conns: 64, cache: true, compress: true},
		{id: "h2-pass-1k-c10", title: "HTTP/2, pass through 1 KiB, 10 connections of 32 streams", path: "/bytes/1024", body: 1 << 10, conns: 10, streams: 32, tls: true},
		{id: "h2-pass-1k-c100", title: "HTTP/2, pass through 1 KiB, 100 connections of 10 streams", path: "/bytes/1024", body: 1 << 10, conns: 100, streams: 10, tls: true},
		{id: "h2-pass-100k-c10", title: "HTTP/2, pass through 100 KiB, 10 connections of 32 streams", path: "/bytes/102400", body: 100 << 10, conns: 10, streams: 32, tls: true},
		{id: "h2-pass-100k-c100", title: "HTTP/2, pass through 100 KiB, 100 connections of 10 streams", path: "/bytes/102400", body: 100 << 10, conns: 100, streams: 10, tls: true},
		{id: "h2-hit-1k-c10", title: "HTTP/2, cache hit 1 KiB, 10 connections of 32 streams", path: "/bytes/1024", body: 1 << 10, conns: 10, streams: 32, tls: true, cache: true},
		{id: "h2-hit-1k-c100", title: "HTTP/2, cache hit 1 KiB, 100 connections of 10 streams", path: "/bytes/1024", body: 1 << 10, conns: 100, streams: 10, tls: true, cache: true},
		{id: "observed", title: "weir with metrics and access log, 1 KiB, 64 connections", path: "/bytes/1024", body: 1 << 10, conns: 64, rate: 4000, options: []string{"weir-observed"}},
		{id: "options-c64", title: "weir with a unix socket, pipelining, both; 1 KiB, 64 connections", path: "/bytes/1024", body: 1 << 10, conns: 64, rate: 4000,
			options: []string{"weir-unix", "weir-pipeline", "weir-both"}},
		{id: "options-c512", title: "the same, 512 connections", path: "/bytes/1024", body: 1 << 10, conns: 512, rate: 4000,
			options: []string{"weir-unix", "weir-pipeline", "weir-both"}},
		{id: "idle", title: "idle keep-alive connections", path: "/bytes/1024", body: 1 << 10, idle: true},
		{id: "entry", title: "cached entries of 1 KiB with 8 fields", path: "/entry/1024", body: 1 << 10, cache: true, entry: true},
	}
}

// fewScenarios are enough to see a regression, or that all works.
const fewScenarios = "pass-1k-c64,browser,pass-100k,tls-1k,hit-1k"

func chooseScenarios(list string) ([]scenario, error) {
	return choose("scenario", list, scenarios(), func(sc scenario) string { return sc.id })
}

// takes says whether a peer is measured at this scenario.
func (sc scenario) takes(p peer) bool {
	switch {
	case sc.options != nil:
		return p.name == "weir" || slices.Contains(sc.options, p.name)
	case p.option != nil:
		return false
	case sc.entry:
		return p.name == "weir"
	case sc.streams > 0 && !p.http2:
		return false
	case sc.cache:
		return p.cache
	case sc.idle:
		return true
	case sc.tls:
		return p.tls
	}
	return p.pass && (p.largest == 0 || sc.body <= p.largest)
}

// choose picks from all those whose name is in a comma-separated list; an
// empty list means all.
func choose[T any](what, list string, all []T, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var names []string
	for _, v := range all {
		names = append(names, name(v))
	}
	var chosen []T
	for want := range strings.SplitSeq(list, ",") {
		found := false
		for _, v := range all {
			if name(v) == strings.TrimSpace(want) {
				chosen, found = append(chosen, v), true
			}
		}
		if !found {
			return nil, fmt.Errorf("cannot choose %s %q: allowed are %s", what, want, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}
