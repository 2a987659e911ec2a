package main

import (
	"fmt"
	"slices"
	"time"
)

// result is one run of the comparison: what the JSON file holds.
type result struct {
	Time     time.Time         `json:"time"`
	Revision string            `json:"revision"` // of the working tree; "+" if it had changes
	Command  string            `json:"command"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Missing  map[string]string `json:"missing,omitempty"` // peer to how to get it
	Settings runSettings       `json:"settings"`
	Rows     []row             `json:"scenarios,omitempty"`
	Targets  []verdict         `json:"targets,omitempty"`
}

type machine struct {
	CPU     string           `json:"cpu"`
	Cores   int              `json:"cores"`
	Caches  []processorCache `json:"caches,omitempty"` // smallest first
	Memory  int64            `json:"memory_bytes"`
	Kernel  string           `json:"kernel"`
	System  string           `json:"system"`
	Go      string           `json:"go"`
	LoadAvg string           `json:"load_average_at_start"`
}

type runSettings struct {
	Rounds     int     `json:"rounds"`
	Warmup     float64 `json:"warmup_seconds"`
	Closed     float64 `json:"closed_seconds"`
	Open       float64 `json:"open_seconds"`
	RateFactor float64 `json:"rate_factor"`
	Workers    int     `json:"workers"`
	Forwarding bool    `json:"forwarding_fields"`
	Idle       int     `json:"idle_connections"`
	Origin     string  `json:"origin"`
}

// row is one scenario.
type row struct {
	ID    string  `json:"id"`
	Title string  `json:"title"`
	Rate  float64 `json:"fixed_rate,omitempty"`
	Cells []cell  `json:"peers"`
}

// cell is one peer at one scenario.
type cell struct {
	Peer   string   `json:"peer"`
	Rounds []sample `json:"rounds,omitempty"`
	Median sample   `json:"median"`
	Error  string   `json:"error,omitempty"`
}

// add takes the rounds of another cell in.
func (c *cell) add(more cell) {
	c.Rounds = append(c.Rounds, more.Rounds...)
	c.Median = median(c.Rounds)
	if c.Error == "" {
		c.Error = more.Error
	}
}

// sample is one measurement. What a scenario does not measure is 0.
type sample struct {
	CPU       float64 `json:"cpu_us"`    // microseconds per request, user and system
	User      float64 `json:"user_us"`   // the share of user time, from coarser clocks
	System    float64 `json:"system_us"` // the share of system time, likewise
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"` // latencies at the fixed rate, microseconds
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	Resident  float64 `json:"resident_bytes"`
	// StartBytes is resident before the first request.
	StartBytes float64 `json:"start_resident_bytes,omitempty"`
	// EntryBytes is what the cache charges for an entry.
	EntryBytes float64 `json:"entry_bytes,omitempty"`
	// IdleBytes is the memory of one idle connection.
	IdleBytes float64 `json:"idle_connection_bytes,omitempty"`
	Requests  int64   `json:"requests"`
	Failed    int64   `json:"failed"`
}

// String is a line of the log.
func (s sample) String() string {
	switch {
	case s.EntryBytes > 0:
		return fmt.Sprintf("%6.2f KiB per entry  failed %d", s.EntryBytes/1024, s.Failed)
	case s.StartBytes > 0:
		return fmt.Sprintf("%6.1f KiB per connection  %5.1f MiB before, %5.1f MiB at the start  failed %d",
			s.IdleBytes/1024, s.Resident/(1<<20), s.StartBytes/(1<<20), s.Failed)
	}
	line := fmt.Sprintf("cpu %6.1f us  %7.0f/s  %7.1f MiB  failed %d", s.CPU, s.PerSecond, s.Resident/(1<<20), s.Failed)
	if s.P50 > 0 {
		line += fmt.Sprintf("  p50 %5.0f p99 %6.0f p99.9 %6.0f us", s.P50, s.P99, s.P999)
	}
	return line
}

// median takes the median of each figure on its own; requests and failures add up.
func median(samples []sample) sample {
	if len(samples) == 0 {
		return sample{}
	}
	of := func(get func(sample) float64) float64 {
		v := make([]float64, len(samples))
		for i, s := range samples {
			v[i] = get(s)
		}
		slices.Sort(v)
		if n := len(v); n%2 == 0 {
			return (v[n/2-1] + v[n/2]) / 2
		}
		return v[len(v)/2]
	}
	m := sample{
		CPU:        of(func(s sample) float64 { return s.CPU }),
		User:       of(func(s sample) float64 { return s.User }),
		System:     of(func(s sample) float64 { return s.System }),
		PerSecond:  of(func(s sample) float64 { return s.PerSecond }),
		P50:        of(func(s sample) float64 { return s.P50 }),
		P99:        of(func(s sample) float64 { return s.P99 }),
		P999:       of(func(s sample) float64 { return s.P999 }),
		Resident:   of(func(s sample) float64 { return s.Resident }),
		IdleBytes:  of(func(s sample) float64 { return s.IdleBytes }),
		StartBytes: of(func(s sample) float64 { return s.StartBytes }),
		EntryBytes: of(func(s sample) float64 { return s.EntryBytes }),
	}
	for _, s := range samples {
		m.Requests += s.Requests
		m.Failed += s.Failed
	}
	return m
}

// at is the median of a peer at a scenario.
func (r *result) at(id, peer string) (sample, bool) {
	for _, row := range r.Rows {
		if row.ID != id {
			continue
		}
		for _, c := range row.Cells {
			if c.Peer == peer && len(c.Rounds) > 0 {
				return c.Median, true
			}
		}
	}
	return sample{}, false
}
