package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"weir/config"
	"weir/docs"
	"weir/internal/field"
)

// family is what Prometheus calls the series of one name.
type family struct {
	help, kind string
	lines      []string
	sums       map[string]int // index in lines of series that stand for several
}

var (
	metricRow = regexp.MustCompile("(?m)^\\| `(weir_[a-z_]+)` \\|[^|]*\\| (.*) \\|$")
	link      = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
)

// described are the metrics that docs/metrics.md has rows for, by name.
var described = sync.OnceValue(func() map[string]family {
	list := make(map[string]family)
	for _, row := range metricRow.FindAllStringSubmatch(docs.Metrics, -1) {
		help := strings.ReplaceAll(link.ReplaceAllString(row[2], "$1"), "`", "")
		kind := kindOf(row[1])
		if strings.HasPrefix(help, "histogram") {
			kind = "histogram"
		}
		list[row[1]] = family{help: help, kind: kind}
	}
	return list
})

// families returns the metrics that are described, without lines.
func families() map[string]*family {
	list := make(map[string]*family)
	for name, f := range described() {
		list[name] = &f
	}
	return list
}

// kindOf tells the kind of a metric, if it is no histogram, by its name.
func kindOf(name string) string {
	if strings.HasSuffix(name, "_total") {
		return "counter"
	}
	return "gauge"
}

// expose writes series in the text format of Prometheus, those of one metric together
// after a line that describes it. known describes metrics by name. Of a label that is switched
// off, the series of all values become one, their sum. exemplars, by the names of their series, make it
// OpenMetrics; nil is the plain format.
func expose(w io.Writer, series []byte, known map[string]*family, off []string, exemplars map[string]string) {
	var order []string
	for line := range strings.Lines(string(series)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		name := familyOf(line, known)
		f := known[name]
		if f == nil {
			f = foreign(name)
			known[name] = f
		}
		if f.lines == nil {
			order = append(order, name)
		}
		if name == "go_info_ext" {
			line = strings.ReplaceAll(line, `", `, `",`) // OpenMetrics has no spaces there
		}
		f.add(line, off)
	}
	page := bufio.NewWriterSize(w, 64<<10)
	defer page.Flush() // a client that is gone needs no end
	for _, name := range order {
		f := known[name]
		kind := f.kind
		if exemplars != nil {
			name, kind = openFamily(name, kind)
		}
		page.WriteString("# HELP " + name + " " + f.help + "\n# TYPE " + name + " " + kind + "\n")
		for _, line := range f.lines {
			page.WriteString(line)
			if len(exemplars) > 0 && f.kind == "histogram" {
				if series, _, _ := cutLast(line); exemplars[series] != "" {
					page.WriteString(" # " + exemplars[series])
				}
			}
			page.WriteByte('\n')
		}
	}
	if exemplars != nil {
		page.WriteString("# EOF\n")
	}
}

// openFamily is the name and the kind of a metric in OpenMetrics: counters are described without the end of
// their series' names, and what has no such end is no counter there.
func openFamily(name, kind string) (_, _ string) {
	switch base, ok := strings.CutSuffix(name, "_total"); {
	case kind == "counter" && ok:
		return base, kind
	case kind == "counter", kind == "untyped":
		return name, "unknown"
	}
	return name, kind
}

// familyOf returns the name of the metric that a line belongs to.
func familyOf(line string, known map[string]*family) string {
	name := line[:strings.IndexAny(line, "{ ")]
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && known[base] != nil && known[base].kind == "histogram" {
			return base
		}
	}
	return name
}

// foreign describes a metric that is not weir's own.
func foreign(name string) *family {
	f := &family{help: "of the process", kind: kindOf(name)}
	if strings.HasPrefix(name, "go_") {
		f.help = "of the Go runtime"
	}
	if f.kind == "gauge" {
		f.kind = "untyped" // some are parts of summaries
	}
	return f
}

// add adds a line, without the labels that are switched off.
func (f *family) add(line string, off []string) {
	name, value, ok := "", "", false
	if len(off) > 0 {
		name, value, ok = cutSeries(line, off)
	}
	if !ok {
		f.lines = append(f.lines, line)
		return
	}
	if f.sums == nil {
		f.sums = make(map[string]int)
	}
	i, again := f.sums[name]
	if !again {
		f.sums[name] = len(f.lines)
		f.lines = append(f.lines, name+" "+value)
		return
	}
	_, before, _ := cutLast(f.lines[i])
	f.lines[i] = name + " " + add(before, value)
}

// cutSeries takes the labels that are switched off out of the name of a series; ok says
// that it had one of them.
func cutSeries(line string, off []string) (name, value string, ok bool) {
	series, value, _ := cutLast(line)
	name, labels, _ := strings.Cut(series, "{")
	labels = strings.TrimSuffix(labels, "}")
	var kept []string
	for labels != "" {
		key, rest, _ := strings.Cut(labels, "=")
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return "", "", false
		}
		if slices.Contains(off, key) {
			ok = true
		} else {
			kept = append(kept, key+"="+quoted)
		}
		labels = strings.TrimPrefix(rest[len(quoted):], ",")
	}
	if len(kept) > 0 {
		name += "{" + strings.Join(kept, ",") + "}"
	}
	return name, value, ok
}

// cutLast cuts a line before its value.
func cutLast(line string) (series, value string, ok bool) {
	i := strings.LastIndexByte(line, ' ')
	return line[:i], line[i+1:], i >= 0
}

// add adds two numbers, whole ones exactly.
func add(a, b string) string {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return strconv.FormatInt(x+y, 10)
	}
	v, _ := strconv.ParseFloat(a, 64)
	w, _ := strconv.ParseFloat(b, 64)
	return strconv.FormatFloat(v+w, 'g', -1, 64)
}

// escapeHelp makes a text one line, as the text format has it.
func escapeHelp(text string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(text)
}

// offLabels are the labels that a configuration switches off.
func offLabels(cfg *config.Metrics) (off []string) {
	if !cfg.PerRoute {
		off = append(off, "route")
	}
	if !cfg.PerTarget {
		off = append(off, "target")
	}
	return off
}

func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Vary", "Accept, Accept-Encoding")
	var exemplars map[string]string
	if asksForOpenMetrics(r.Header.Get("Accept")) && s.current.Load().config.Metrics.Histograms == config.HistogramsPrometheus {
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		exemplars = s.exemplars()
	}
	if !acceptsGzip(r.Header.Get("Accept-Encoding")) {
		s.writePage(w, exemplars)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed) // pages are large, and readers near
	if err != nil {
		panic("BUG: " + err.Error())
	}
	s.writePage(z, exemplars)
	z.Close() // a client that is gone needs no end
}

// exemplars returns the exemplars of histograms, by the names of their series.
func (s *Server) exemplars() map[string]string {
	list := make(map[string]string)
	s.metrics.Exemplars(func(series, exemplar string) { list[series] = exemplar })
	return list
}

// asksForOpenMetrics says whether an Accept has OpenMetrics, and not with less weight than the plain format.
func asksForOpenMetrics(list string) bool {
	open, plain := 0, 0
	for kind, weight := range field.Weighted([]byte(list)) {
		switch {
		case field.EqualFold(kind, "application/openmetrics-text"):
			open = max(open, weight)
		case field.EqualFold(kind, "text/plain"):
			plain = max(plain, weight)
		}
	}
	return open > 0 && open >= plain
}

// acceptsGzip says whether an Accept-Encoding has gzip, and not with weight 0.
func acceptsGzip(list string) bool {
	for coding, weight := range field.Weighted([]byte(list)) {
		if field.EqualFold(coding, "gzip") {
			return weight > 0
		}
	}
	return false
}

// WriteMetrics writes all metrics of the server and the process in the text
// format of Prometheus.
func (s *Server) WriteMetrics(w io.Writer) { s.writePage(w, nil) }

// writePage writes all metrics, as OpenMetrics if exemplars is not nil.
func (s *Server) writePage(w io.Writer, exemplars map[string]string) {
	var series bytes.Buffer
	s.writeSeries(&series)
	known := families()
	s.observed.Describe(func(name, kind, help string) {
		if help == "" {
			help = "of the configuration"
		}
		known[name] = &family{help: escapeHelp(help), kind: kind}
	})
	expose(w, series.Bytes(), known, offLabels(&s.current.Load().config.Metrics), exemplars)
}
