package main

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"

	"weir/bench/load"
)

// The measures of the chart, in pixels.
const (
	panelWidth = 560
	left       = 62 // of a plot, within a panel
	plotWidth  = panelWidth - left - 58
	plotHeight = 120
	plotGap    = 46
	top        = 96
)

// style has the colours, for light and for dark.
const style = `<style>
.chart{--text:#1f2328;--faint:#656d76;--grid:#d8dee4;--back:#ffffff;--a:#0969da;--b:#9a6700;--c:#cf222e;--d:#1a7f37}
@media (prefers-color-scheme:dark){.chart{--text:#e6edf3;--faint:#8d96a0;--grid:#30363d;--back:#0d1117;--a:#58a6ff;--b:#d29922;--c:#ff7b72;--d:#3fb950}}
.chart text{fill:var(--text);font:12px system-ui,sans-serif}.chart .faint{fill:var(--faint);font-size:11px}.chart .head{font-size:15px;font-weight:600}
.chart .grid{stroke:var(--grid)}.chart .back{fill:var(--back)}.chart .over{fill:transparent}.chart .over:hover{fill:var(--faint);fill-opacity:.15}
.chart polyline{fill:none;stroke-width:1.7;stroke-linejoin:round}
</style>`

// line is one line of a plot.
type line struct {
	name, colour string
	value        func(p load.Interval) float64
}

// plot is one of the plots of a panel.
type plot struct {
	title string
	lines []line
	// span is the range of y over all sides, so that panels can be compared.
	span func(values []float64) (low, high float64)
	log  bool
	unit string
}

func plots() []plot {
	rate := func(p load.Interval) float64 { return float64(p.Requests+p.Failed) / p.Length.Seconds() }
	success := func(p load.Interval) float64 {
		if p.Requests+p.Failed == 0 {
			return math.NaN()
		}
		return 100 * share(p.Requests, p.Requests+p.Failed)
	}
	latency := func(of func(load.Interval) time.Duration) func(load.Interval) float64 {
		return func(p load.Interval) float64 {
			if d := of(p); d > 0 {
				return float64(d) / float64(time.Millisecond)
			}
			return math.NaN()
		}
	}
	return []plot{
		{title: "requests per second", lines: []line{{"", "a", rate}}, span: fromZero},
		{title: "success rate", lines: []line{{"", "d", success}}, unit: " %", span: func([]float64) (float64, float64) { return 0, 100 }},
		{title: "latency, ms (logarithmic)", log: true, span: decades, lines: []line{
			{"p50", "a", latency(func(p load.Interval) time.Duration { return p.P50 })},
			{"p90", "b", latency(func(p load.Interval) time.Duration { return p.P90 })},
			{"p99", "c", latency(func(p load.Interval) time.Duration { return p.P99 })},
		}},
	}
}

// fromZero goes to a round number above all values.
func fromZero(values []float64) (low, high float64) {
	high = 1
	for _, v := range values {
		high = max(high, v)
	}
	step := math.Pow(10, math.Floor(math.Log10(high)))
	return 0, math.Ceil(high/step*2) / 2 * step
}

// decades goes from a power of ten to another.
func decades(values []float64) (low, high float64) {
	low, high = math.Inf(1), 0
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if high == 0 {
		return 0.1, 1
	}
	low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
	return low, max(high, low*10)
}

// chart draws the sides as panels beside each other, as SVG.
func chart(r *report) string {
	all := plots()
	width, height := panelWidth*len(r.sides)+10, top+(plotHeight+plotGap)*len(all)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n%s\n",
		width, height, width, height, html.EscapeString(r.title), style)
	fmt.Fprintf(&b, `<rect class="back" width="%d" height="%d"/><text class="head" x="12" y="22">%s</text><text class="faint" x="12" y="40">%s</text>`+"\n",
		width, height, html.EscapeString(r.title), html.EscapeString(r.about))
	for i, sd := range r.sides {
		fmt.Fprintf(&b, `<text class="head" x="%d" y="%d">%s</text>`+"\n", panelWidth*i+left, top-28, html.EscapeString(sd.title))
	}
	length := time.Second
	for _, sd := range r.sides {
		for _, p := range sd.result.Intervals {
			length = max(length, p.Start+p.Length)
		}
	}
	for k, p := range all {
		low, high := p.span(p.values(r))
		for i, sd := range r.sides {
			f := frame{&b, float64(panelWidth*i + left), float64(top + (plotHeight+plotGap)*k), low, high, p.log, length}
			f.axes(p.title, p.unit)
			for n, l := range p.lines {
				f.draw(l, sd.result.Intervals, n)
			}
		}
	}
	for i, sd := range r.sides {
		hovers(&b, frame{x: float64(panelWidth*i + left), y: top, length: length}, sd.result.Intervals, height-plotGap-top)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// values are those of all lines of all sides.
func (p *plot) values(r *report) (values []float64) {
	for _, sd := range r.sides {
		for _, l := range p.lines {
			for _, in := range sd.result.Intervals {
				if v := l.value(in); !math.IsNaN(v) {
					values = append(values, v)
				}
			}
		}
	}
	return values
}

// frame is the place of a plot, and its scales.
type frame struct {
	b         *strings.Builder
	x, y      float64
	low, high float64
	log       bool
	length    time.Duration
}

func (f *frame) atX(d time.Duration) float64 {
	return f.x + plotWidth*float64(d)/float64(f.length)
}

func (f *frame) atY(v float64) float64 {
	part := (v - f.low) / (f.high - f.low)
	if f.log {
		part = math.Log(v/f.low) / math.Log(f.high/f.low)
	}
	return f.y + plotHeight*(1-min(max(part, 0), 1))
}

func (f *frame) axes(title, unit string) {
	fmt.Fprintf(f.b, `<text x="%.0f" y="%.0f">%s</text>`+"\n", f.x, f.y-6, title)
	marks := []float64{f.low, (f.low + f.high) / 2, f.high}
	if f.log {
		marks = nil
		for v := f.low; v <= f.high*1.01; v *= 10 {
			marks = append(marks, v)
		}
	}
	for _, v := range marks {
		y := f.atY(v)
		fmt.Fprintf(f.b, `<line class="grid" x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f"/><text class="faint" text-anchor="end" x="%.0f" y="%.1f">%s%s</text>`+"\n",
			f.x, f.x+plotWidth, y, y, f.x-6, y+4, thousands(v), unit)
	}
	for _, part := range []float64{0, 0.5, 1} {
		d := time.Duration(part * float64(f.length))
		fmt.Fprintf(f.b, `<text class="faint" text-anchor="middle" x="%.0f" y="%.0f">%s s</text>`+"\n", f.atX(d), f.y+plotHeight+15, thousands(math.Round(10*d.Seconds())/10))
	}
}

// draw draws a line, with gaps where there is no value. Its name stands beside its end.
func (f *frame) draw(l line, intervals []load.Interval, n int) {
	var points []string
	flush := func() {
		if len(points) == 1 { // a line of one point is not seen
			x, y, _ := strings.Cut(points[0], ",")
			fmt.Fprintf(f.b, `<circle cx="%s" cy="%s" r="1.5" style="fill:var(--%s)"/>`+"\n", x, y, l.colour)
		} else if len(points) > 1 {
			fmt.Fprintf(f.b, `<polyline style="stroke:var(--%s)" points="%s"/>`+"\n", l.colour, strings.Join(points, " "))
		}
		points = nil
	}
	for _, p := range intervals {
		v := l.value(p)
		if math.IsNaN(v) {
			flush()
			continue
		}
		points = append(points, fmt.Sprintf("%.1f,%.1f", f.atX(p.Start+p.Length/2), f.atY(v)))
	}
	flush()
	if l.name != "" {
		fmt.Fprintf(f.b, `<text x="%.0f" y="%.0f" style="fill:var(--%s)">%s</text>`+"\n", f.x+plotWidth+8, f.y+plotHeight-16*float64(n)-4, l.colour, l.name)
	}
}

// hovers says the figures of an interval to who points at it.
func hovers(b *strings.Builder, f frame, intervals []load.Interval, height int) {
	for _, p := range intervals {
		fmt.Fprintf(b, `<rect class="over" x="%.1f" y="%.0f" width="%.1f" height="%d"><title>from %.3g s: %.0f requests/s, %s succeeded, p50 %s, p90 %s, p99 %s, max %s</title></rect>`+"\n",
			f.atX(p.Start), f.y, plotWidth*float64(p.Length)/float64(f.length), height, p.Start.Seconds(), float64(p.Requests+p.Failed)/p.Length.Seconds(),
			percent(p.Requests, p.Requests+p.Failed), milliseconds(p.P50), milliseconds(p.P90), milliseconds(p.P99), milliseconds(p.Max))
	}
}

// thousands is a number in few characters.
func thousands(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%gk", v/1000)
	}
	return fmt.Sprintf("%g", v)
}

// htmlPage is a page with the chart and the figures, which loads nothing.
func htmlPage(r *report, picture string) string {
	var b strings.Builder
	b.WriteString(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<title>` + html.EscapeString(r.title) + `</title>
<style>
body{font:14px system-ui,sans-serif;margin:1.5rem;background:#fff;color:#1f2328}svg{max-width:100%;height:auto}
table{border-collapse:collapse;margin-top:1rem}th,td{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #d8dee4}
@media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}}
</style></head><body>
`)
	b.WriteString(picture + "<table>\n")
	for i, row := range rows(r) {
		cell := "td"
		if i == 0 {
			cell = "th"
		}
		b.WriteString("<tr>")
		for _, text := range row {
			fmt.Fprintf(&b, "<%s>%s</%s>", cell, html.EscapeString(text), cell)
		}
		b.WriteString("</tr>\n")
	}
	b.WriteString("</table></body></html>\n")
	return b.String()
}
