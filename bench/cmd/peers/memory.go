package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"weir/bench"
	"weir/bench/load"
)

// idle measures what the process takes at the start, and what a connection costs
// that has done one exchange and waits.
func (r *runner) idle(ctx context.Context, sc scenario, proc *process, address string) (sample, error) {
	var s sample
	settle(ctx)
	start, err := measureTree(proc.pid(), true)
	if err != nil {
		return s, err
	}
	// The first connections fill pools and caches that all later ones share.
	sc.conns = 64
	warm, err := load.New(r.options(sc, address))
	if err != nil {
		return s, err
	}
	_, err = phase(ctx, warm, load.Phase{Requests: 5000})
	warm.Close()
	if err != nil {
		return s, err
	}
	settle(ctx)
	before, err := measureTree(proc.pid(), true)
	if err != nil {
		return s, err
	}
	sc.conns = r.settings.Idle
	g, err := load.New(r.options(sc, address))
	if err != nil {
		return s, err
	}
	defer g.Close()
	// At a moderate rate each connection gets its one request in turn, and
	// few are busy at once.
	res, err := phase(ctx, g, load.Phase{Requests: int64(sc.conns), Rate: 2500})
	if err != nil {
		return s, err
	}
	settle(ctx)
	after, err := measureTree(proc.pid(), true)
	if err != nil {
		return s, err
	}
	s.Requests, s.Failed = res.Requests, res.Failed()
	s.Resident, s.StartBytes = float64(before.resident), float64(start.resident)
	s.IdleBytes = max(float64(after.resident-before.resident)/float64(sc.conns), 0)
	return s, nil
}

// settle gives a process the time to do what it does when nothing happens.
func settle(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
	}
}

// entry fills weir's cache and asks its metrics what an entry takes. Two entries
// differ in their key only.
func (r *runner) entry(ctx context.Context, sc scenario, s settings) (sample, error) {
	const entries = 2000
	sc.conns = 16
	for i := range entries {
		sc.requests = append(sc.requests, load.Get(bench.CertificateName, fmt.Sprintf("%s?n=%04d", sc.path, i)))
	}
	g, err := load.New(r.options(sc, s.Listen))
	if err != nil {
		return sample{}, err
	}
	defer g.Close()
	// The second request for an entry prepares it for further ones.
	res, err := phase(ctx, g, load.Phase{Requests: 3 * entries})
	if err != nil {
		return sample{}, err
	}
	metrics, err := fetchMetrics(ctx, s.Metrics)
	if err != nil {
		return sample{}, err
	}
	stored, err := metric(metrics, "weir_cache_entries")
	if err != nil {
		return sample{}, err
	}
	charged, err := metric(metrics, "weir_cache_bytes")
	if err != nil {
		return sample{}, err
	}
	if stored != entries {
		return sample{}, fmt.Errorf("cannot measure entries: the cache has %g, want %d", stored, entries)
	}
	return sample{EntryBytes: charged / stored, Requests: res.Requests, Failed: res.Failed()}, nil
}

func fetchMetrics(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for metrics: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot fetch metrics: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot fetch metrics: %w", err)
	}
	return b, nil
}

// metric reads the value of a metric without labels.
func metric(exposition []byte, name string) (float64, error) {
	for line := range bytes.Lines(exposition) {
		if v, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(v)), 64)
		}
	}
	return 0, fmt.Errorf("cannot find %s in the metrics", name)
}
