package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// markdown is a result for people.
func markdown(r *result) string {
	var b strings.Builder
	m := r.Machine
	fmt.Fprintf(&b, "Measured %s at revision `%s` on %d cores of %s, %.0f GiB, Linux %s, %s, %s.\n", r.Time.Format("2006-01-02 15:04 MST"),
		r.Revision, m.Cores, m.CPU, float64(m.Memory)/(1<<30), m.Kernel, m.System, m.Go)
	if len(m.Caches) > 0 {
		var names []string
		for _, c := range m.Caches {
			names = append(names, c.String())
		}
		fmt.Fprintf(&b, "Caches of core 0: %s.\n", strings.Join(names, ", "))
	}
	fmt.Fprintf(&b, "Origin: %s. Medians of %d rounds, each with %g s closed loop and %g s at a fixed rate, %d workers for each peer, forwarding fields %s.\n",
		r.Settings.Origin, r.Settings.Rounds, r.Settings.Closed, r.Settings.Open, r.Settings.Workers, onOff(r.Settings.Forwarding))
	fmt.Fprintf(&b, "Load average at the start: %s. Command: `%s`.\n\n", m.LoadAvg, r.Command)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "- %s: %s\n", name, r.Versions[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(&b, "- %s is missing: %s\n", name, r.Missing[name])
	}
	own, others := *r, *r
	own.Rows, others.Rows = nil, nil
	for _, row := range r.Rows {
		if slices.ContainsFunc(row.Cells, func(c cell) bool { return c.Peer != "weir" && isWeir(c.Peer) }) {
			own.Rows = append(own.Rows, row)
		} else {
			others.Rows = append(others.Rows, row)
		}
	}
	columns := columnsOf(&others)
	section(&b, &others, columns, "CPU microseconds per request (in brackets: weir's as a multiple of it)", cpu, 1, true)
	section(&b, &others, columns, "Requests per second, closed loop", func(s sample) float64 { return s.PerSecond }, 0, false)
	latency(&b, &others, columns)
	section(&b, &others, columns, "Resident MiB after the load", resident, 1, false)
	section(&b, &others, columns, "Resident MiB at the start", start, 1, false)
	section(&b, &others, columns, "KiB per idle connection", idle, 2, false)
	section(&b, &others, []string{"weir"}, "KiB that weir charges for a cached entry", entry, 2, false)
	section(&b, &own, columnsOf(&own), "weir's own options: CPU microseconds per request (in brackets: weir's as a multiple of it)", cpu, 1, true)
	failures(&b, r)
	verdicts(&b, r)
	return b.String()
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// columnsOf lists the peers that were measured anywhere, in order.
func columnsOf(r *result) []string {
	var names []string
	for _, row := range r.Rows {
		for _, c := range row.Cells {
			if len(c.Rounds) > 0 && !slices.Contains(names, c.Peer) {
				names = append(names, c.Peer)
			}
		}
	}
	return names
}

// section is a table of one figure; rows without it are left out.
func section(b *strings.Builder, r *result, columns []string, title string, figure func(sample) float64, decimals int, ratio bool) {
	var rows strings.Builder
	for _, row := range r.Rows {
		var cells []string
		any := false
		weir, measured := r.at(row.ID, "weir")
		for _, name := range columns {
			s, ok := r.at(row.ID, name)
			if !ok || figure(s) == 0 {
				cells = append(cells, "")
				continue
			}
			any = true
			text := fmt.Sprintf("%.*f", decimals, figure(s))
			if ratio && measured && name != "weir" {
				text += fmt.Sprintf(" (%.2f)", figure(weir)/figure(s))
			}
			cells = append(cells, text)
		}
		if any {
			fmt.Fprintf(&rows, "| %s | %s |\n", row.Title, strings.Join(cells, " | "))
		}
	}
	if rows.Len() == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n| scenario | %s |\n|---|%s\n%s", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)), rows.String())
}

// latency is the table of three quantiles in each cell.
func latency(b *strings.Builder, r *result, columns []string) {
	var rows strings.Builder
	for _, row := range r.Rows {
		var cells []string
		any := false
		for _, name := range columns {
			s, ok := r.at(row.ID, name)
			if !ok || s.P50 == 0 {
				cells = append(cells, "")
				continue
			}
			any = true
			cells = append(cells, fmt.Sprintf("%.0f / %.0f / %.0f", s.P50, s.P99, s.P999))
		}
		if any {
			fmt.Fprintf(&rows, "| %s, %.0f/s | %s |\n", row.Title, row.Rate, strings.Join(cells, " | "))
		}
	}
	if rows.Len() == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Latency at a fixed rate, microseconds: p50 / p99 / p99.9\n\n| scenario | %s |\n|---|%s\n%s",
		strings.Join(columns, " | "), strings.Repeat("---|", len(columns)), rows.String())
}

// failures lists what must not be hidden in medians.
func failures(b *strings.Builder, r *result) {
	var lines strings.Builder
	for _, row := range r.Rows {
		for _, c := range row.Cells {
			if c.Error != "" {
				fmt.Fprintf(&lines, "- %s, %s: %s\n", row.Title, c.Peer, strings.ReplaceAll(c.Error, "\n", " "))
			}
			if c.Median.Failed > 0 {
				fmt.Fprintf(&lines, "- %s, %s: %d requests failed of %d\n", row.Title, c.Peer, c.Median.Failed, c.Median.Requests+c.Median.Failed)
			}
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(b, "\n### Failures\n\n%s", lines.String())
	}
}

// verdicts is the table of the targets that were measured, and a list of the others.
func verdicts(b *strings.Builder, r *result) {
	if len(r.Targets) == 0 {
		return
	}
	b.WriteString("\n### Targets\n\n| scenario | what | weir | peer | ratio | must | aim | |\n|---|---|---|---|---|---|---|---|\n")
	var unknown []string
	for _, v := range r.Targets {
		if v.State == stateUnknown {
			unknown = append(unknown, strings.TrimSpace(v.Scenario+" "+v.Against)+" ("+v.What+")")
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", v.Scenario, v.What, v.weir(), v.peer(), v.ratio(), v.must(), limit(v.Aim), v.State)
	}
	if len(unknown) > 0 {
		fmt.Fprintf(b, "\nNot measured: %s.\n", strings.Join(unknown, ", "))
	}
}

// weir is weir's figure; if it is what the bounds are for, with all digits that count.
func (v verdict) weir() string {
	if v.Against == "" {
		return digits(v.Weir)
	}
	return number(v.Weir)
}

// peer names who weir was measured against, with the figure.
func (v verdict) peer() string {
	switch v.Against {
	case "":
		return ""
	case best:
		return fmt.Sprintf("%s %s (the best)", v.Peer, number(v.Other))
	}
	return v.Peer + " " + number(v.Other)
}

// ratio is weir's figure divided by the peer's, if there is one.
func (v verdict) ratio() string {
	if v.Against == "" {
		return ""
	}
	return digits(v.Ratio)
}

// must is the bound that must hold: 0 where nothing else is allowed.
func (v verdict) must() string {
	if v.Must == 0 && v.Aim == 0 {
		return "0"
	}
	return limit(v.Must)
}

// limit prints an upper bound; 0 means that there is none.
func limit(f float64) string {
	if f == 0 {
		return ""
	}
	return fmt.Sprintf("<= %.3g", f)
}

// digits prints enough of a figure to see on which side of a bound it is.
func digits(f float64) string {
	return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64)
}

// save writes NAME.json, NAME.md and NAME-CHART.svg into dir.
func save(dir, name string, r any, text string, charts map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the results' folder: %w", err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the results: %w", err)
	}
	files := map[string]string{name + ".json": string(b) + "\n"}
	var images strings.Builder
	for _, chart := range slices.Sorted(maps.Keys(charts)) {
		if charts[chart] == "" {
			continue
		}
		file := name + "-" + chart + ".svg"
		files[file] = charts[chart]
		fmt.Fprintf(&images, "\n![%s](%s)\n", chart, file)
	}
	files[name+".md"] = text + images.String()
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			return fmt.Errorf("cannot write results: %w", err)
		}
	}
	return nil
}
