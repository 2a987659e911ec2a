package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"weir/bench"
)

// h2load is the program of nghttp2 that makes the load of HTTP/2.
const h2load = "h2load"

// framed measures CPU time over HTTP/2 with TLS: sc.conns connections of sc.streams streams each.
func (r *runner) framed(ctx context.Context, sc scenario, proc *process, address string) (sample, error) {
	if r.settings.Warmup > 0 {
		if _, err := runH2Load(ctx, sc, address, r.settings.Warmup); err != nil {
			return sample{}, err
		}
	}
	return r.counted(sc, proc, func() (loaded, error) { return runH2Load(ctx, sc, address, r.settings.Closed) })
}

// h2total are the lines of h2load's report that count.
var h2total = regexp.MustCompile(`(?s)finished in [^,]*, ([0-9.]+) req/s.*requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)

// runH2Load loads a proxy for some seconds.
func runH2Load(ctx context.Context, sc scenario, address string, seconds float64) (loaded, error) {
	program, err := exec.LookPath(h2load)
	if err != nil {
		return loaded{}, fmt.Errorf("cannot find %s: apt-get install nghttp2-client", h2load)
	}
	cmd := exec.CommandContext(ctx, program, "-c", strconv.Itoa(sc.conns), "-m", strconv.Itoa(sc.streams), "-t", "1",
		"-D", strconv.FormatFloat(max(seconds, 1), 'f', 0, 64), // whole seconds only
		"--connect-to="+address, "https://"+bench.CertificateName+sc.path)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return loaded{}, ctx.Err()
	}
	if err != nil {
		return loaded{}, fmt.Errorf("cannot run %s: %w: %s", h2load, err, out)
	}
	return parseH2Load(string(out))
}

// parseH2Load reads a report of h2load.
func parseH2Load(report string) (loaded, error) {
	m := h2total.FindStringSubmatch(report)
	if m == nil {
		return loaded{}, fmt.Errorf("cannot read the report of %s: %q", h2load, report)
	}
	var l loaded
	l.perSecond, _ = strconv.ParseFloat(m[1], 64)
	l.requests, _ = strconv.ParseInt(m[2], 10, 64)
	for _, text := range m[3:5] { // h2load counts errors as failures, too, but not the other way round
		n, _ := strconv.ParseInt(text, 10, 64)
		l.failed = max(l.failed, n)
	}
	if l.requests == 0 {
		return l, fmt.Errorf("cannot measure: no request was answered as expected: %q", report)
	}
	return l, nil
}
