package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	urfave "github.com/urfave/cli/v3"

	generator "weir/bench/load"
)

// benchReport is what weir bench --json prints. Times are in seconds.
type benchReport struct {
	URLs        []string `json:"urls"`
	Protocol    string   `json:"protocol"`
	Connections int      `json:"connections"`
	// RateWanted is that of --rate; 0 without it.
	RateWanted float64 `json:"rate_wanted"`
	Elapsed    float64 `json:"elapsed"`
	Succeeded  int64   `json:"succeeded"`
	Failed     int64   `json:"failed"`
	// Unsent were due, by --rate and --duration, and not sent because all connections were busy.
	Unsent     int64            `json:"unsent"`
	Rate       float64          `json:"rate"` // of those that succeeded
	Success    float64          `json:"success"`
	Bytes      int64            `json:"bytes"`
	Reconnects int64            `json:"reconnects"`
	Statuses   map[int]int64    `json:"statuses"`
	Errors     map[string]int64 `json:"errors"`
	Latency    benchLatency     `json:"latency"`
	Intervals  []benchInterval  `json:"intervals"`
}

type benchLatency struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

type benchInterval struct {
	Start     float64 `json:"start"`
	Length    float64 `json:"length"`
	Succeeded int64   `json:"succeeded"`
	Failed    int64   `json:"failed"`
	P50       float64 `json:"p50"`
	P90       float64 `json:"p90"`
	P99       float64 `json:"p99"`
	P999      float64 `json:"p999"`
	Max       float64 `json:"max"`
}

func newBenchReport(c *urfave.Command, r generator.Result) *benchReport {
	b := &benchReport{
		URLs: c.Args().Slice(), Protocol: protocolOf(c), Connections: c.Int(flagConnections), RateWanted: c.Float(flagRate),
		Elapsed: r.Elapsed.Seconds(), Succeeded: r.Requests, Failed: r.Failed(), Rate: r.PerSecond(), Bytes: r.Bytes, Reconnects: r.Reconnects,
		Statuses: r.Statuses, Errors: r.Errors, Intervals: []benchInterval{},
	}
	if b.Errors == nil {
		b.Errors = map[string]int64{}
	}
	if n := b.Succeeded + b.Failed; n > 0 {
		b.Success = float64(b.Succeeded) / float64(n)
	}
	if r.Latency.TotalCount() > 0 {
		at := func(q float64) float64 { return r.Quantile(q).Seconds() }
		b.Latency = benchLatency{
			time.Duration(r.Latency.Min()).Seconds(), r.Latency.Mean() / 1e9, at(50), at(90), at(99), at(99.9), time.Duration(r.Latency.Max()).Seconds(),
		}
	}
	for _, p := range r.Intervals {
		b.Intervals = append(b.Intervals, benchInterval{
			p.Start.Seconds(), p.Length.Seconds(), p.Requests, p.Failed,
			p.P50.Seconds(), p.P90.Seconds(), p.P99.Seconds(), p.P999.Seconds(), p.Max.Seconds(),
		})
	}
	return b
}

// print writes the report for people.
func (b *benchReport) print(w io.Writer) error {
	how := "each sends its next request after the last answer"
	if b.RateWanted > 0 {
		how = fmt.Sprintf("%g requests/s wanted", b.RateWanted)
	}
	fmt.Fprintf(w, "%s, %s, %s; %s\n\n", time.Duration(b.Elapsed*1e9).Round(time.Millisecond), count(b.Connections, "connection"), b.Protocol, how)
	l := &b.Latency
	rows := table{
		{"succeeded", fmt.Sprintf("%d (%.2f %%), %s/s", b.Succeeded, 100*b.Success, perSecond(float64(b.Succeeded), max(b.Elapsed, 1e-9)))},
		{"failed", fmt.Sprint(b.Failed)},
	}
	if b.Unsent > 0 {
		rows.add("not sent", fmt.Sprintf("%d that were due: all connections were busy, so %g/s was not reached", b.Unsent, b.RateWanted))
	}
	rows = append(rows, table{
		{"statuses", statusesOf(b.Statuses)},
		{"bodies", fmt.Sprintf("%d bytes, %s/s", b.Bytes, bytesPerSecond(b.Bytes, max(b.Elapsed, 1e-9)))},
		{"latency", fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, max %s, mean %s", brief(l.P50), brief(l.P90), brief(l.P99), brief(l.P999), brief(l.Max), brief(l.Mean))},
	}...)
	if b.Reconnects > 0 {
		rows.add("reconnects", fmt.Sprintf("%d connections that the server closed after an answer", b.Reconnects))
	}
	for _, cause := range slices.Sorted(maps.Keys(b.Errors)) {
		rows.add("failures", fmt.Sprintf("%d: %s", b.Errors[cause], cause))
	}
	return rows.print(w)
}
