package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// panel is one group of bars with a scale of its own.
type panel struct {
	title string
	bars  []bar
}

type bar struct {
	name  string
	value float64
}

// bars makes a panel of each scenario that has the figure.
func bars(r *result, figure func(sample) float64) []panel {
	var panels []panel
	for _, row := range r.Rows {
		p := panel{title: row.Title}
		for _, c := range row.Cells {
			if s, ok := r.at(row.ID, c.Peer); ok && figure(s) > 0 {
				p.bars = append(p.bars, bar{c.Peer, figure(s)})
			}
		}
		if len(p.bars) > 0 {
			panels = append(panels, p)
		}
	}
	return panels
}

// Colours: weir's, and one for everybody else.
const (
	colourWeir  = "#0a7ea4"
	colourOther = "#b8c4cc"
	colourText  = "#24292f"
)

// barChart draws panels of horizontal bars as SVG; "" if there are none.
func barChart(title string, panels []panel) string {
	if len(panels) == 0 {
		return ""
	}
	const (
		width, left, right = 760, 130, 90
		barHeight, gap     = 16, 4
		panelHead          = 30
	)
	height := 44
	for _, p := range panels {
		height += panelHead + len(p.bars)*(barHeight+gap)
	}
	height += 12
	var b strings.Builder
	open(&b, width, height, title)
	y := 44
	for _, p := range panels {
		fmt.Fprintf(&b, `<text x="12" y="%d" font-weight="bold">%s</text>`+"\n", y+16, html.EscapeString(p.title))
		y += panelHead
		largest := 0.0
		for _, v := range p.bars {
			largest = max(largest, v.value)
		}
		for _, v := range p.bars {
			colour := colourOther
			if strings.HasPrefix(v.name, "weir") {
				colour = colourWeir
			}
			w := v.value / largest * (width - left - right)
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+barHeight-4, html.EscapeString(v.name))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, y, w, barHeight, colour)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", left+w+6, y+barHeight-4, number(v.value))
			y += barHeight + gap
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// curve is a line of points with growing x.
type curve struct {
	title  string // what x counts
	points []point
}

type point struct{ x, y float64 }

// lineChart draws each curve into a panel with a logarithmic x axis that
// begins at y = 0, so that a flat curve looks flat; "" if there are none.
func lineChart(title string, curves []curve) string {
	const (
		width, left, right = 760, 60, 40
		plot, panelHeight  = 130, 200
	)
	if len(curves) == 0 {
		return ""
	}
	var b strings.Builder
	open(&b, width, 44+panelHeight*len(curves), title)
	for i, c := range curves {
		top := 44 + panelHeight*i
		fmt.Fprintf(&b, `<text x="12" y="%d" font-weight="bold">%s</text>`+"\n", top+16, html.EscapeString(c.title))
		top += 28
		largest, first, last := 0.0, math.Inf(1), 0.0
		for _, p := range c.points {
			largest, first, last = max(largest, p.y), min(first, p.x), max(last, p.x)
		}
		at := func(p point) (x, y float64) {
			x = left
			if last > first {
				x += math.Log(p.x/first) / math.Log(last/first) * (width - left - right)
			}
			return x, float64(top) + plot - p.y/(largest*1.15)*plot
		}
		fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="%s"/>`+"\n", left, top, top+plot, width-right, colourOther)
		var path strings.Builder
		for j, p := range c.points {
			x, y := at(p)
			command := "L"
			if j == 0 {
				command = "M"
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", command, x, y)
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x, y, colourWeir)
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`, x, y-8, number(p.y))
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x, top+plot+16, number(p.x))
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colourWeir)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func open(b *strings.Builder, width, height int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">`+"\n",
		width, height, width, height, colourText)
	// A background of its own keeps it readable on dark pages.
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	fmt.Fprintf(b, `<text x="12" y="26" font-size="16">%s</text>`+"\n", html.EscapeString(title))
}

// number prints three digits or all of a whole number.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
