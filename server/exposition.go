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
	// parts are the lines, each a line or several that followed each other.
	parts [][]byte
	sums  map[string]int // index in parts of series that stand for several
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

// expose writes page, series in the text format of Prometheus, those of one metric together
// after a line that describes it. known describes metrics by name. Of a label that is switched
// off, the series of all values become one, their sum. exemplars, by the names of their series, make it
// OpenMetrics; nil is the plain format. There may be hundreds of thousands of lines, so lines that follow each other
// are not copied, and stay together.
func expose(w io.Writer, page []byte, known map[string]*family, off []string, exemplars map[string]string) {
	var order []string
	var last *family
	lastSeries := "" // the name of the last line's series
	for rest := page; len(rest) > 0; {
		line := rest
		if end := bytes.IndexByte(rest, '\n'); end >= 0 {
			line = rest[:end+1]
		}
		rest = rest[len(line):]
		if line[0] == '#' || line[0] == '\n' {
			last, lastSeries = nil, ""
			continue
		}
		f := last
		if lastSeries == "" || !isOf(line, lastSeries) {
			lastSeries = seriesOf(line)
			name := familyOf(lastSeries, known)
			if f = known[name]; f == nil {
				f = foreign(name)
				known[name] = f
			}
			if f.parts == nil {
				order = append(order, name)
			}
		}
		switch {
		case lastSeries == "go_info_ext": // OpenMetrics has no spaces between labels
			f.add(bytes.ReplaceAll(line, []byte(`", `), []byte(`",`)), nil)
			f, lastSeries = nil, "" // no line follows what was added
		case f == last && len(off) == 0:
			part := &f.parts[len(f.parts)-1]
			*part = (*part)[:len(*part)+len(line)] // the line follows it
		default:
			f.add(line, off)
		}
		last = f
	}
	out := bufio.NewWriterSize(w, 64<<10)
	defer out.Flush() // a client that is gone needs no end
	for _, name := range order {
		known[name].write(out, name, exemplars)
	}
	if exemplars != nil {
		out.WriteString("# EOF\n")
	}
}

// write writes the metric of that name.
func (f *family) write(out *bufio.Writer, name string, exemplars map[string]string) {
	kind := f.kind
	if exemplars != nil {
		name, kind = openFamily(name, kind)
	}
	out.WriteString("# HELP " + name + " " + f.help + "\n# TYPE " + name + " " + kind + "\n")
	if f.kind != "histogram" || !haveOne(exemplars, name) {
		for _, part := range f.parts {
			out.Write(part)
		}
		return
	}
	for _, part := range f.parts {
		for line := range bytes.Lines(part) {
			out.Write(bytes.TrimSuffix(line, []byte{'\n'}))
			if series, _ := cutLast(string(line)); exemplars[series] != "" {
				out.WriteString(" # " + exemplars[series])
			}
			out.WriteByte('\n')
		}
	}
}

// haveOne says whether exemplars have one of the histogram of that name.
func haveOne(exemplars map[string]string, name string) bool {
	for series := range exemplars {
		if strings.HasPrefix(series, name+"_bucket{") {
			return true
		}
	}
	return false
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

// seriesOf returns the name before the labels of a line.
func seriesOf(line []byte) string {
	if end := bytes.IndexAny(line, "{ "); end >= 0 {
		line = line[:end]
	}
	return string(line)
}

// isOf says whether a line has that name before its labels.
func isOf(line []byte, name string) bool {
	return len(line) > len(name) && (line[len(name)] == '{' || line[len(name)] == ' ') && string(line[:len(name)]) == name
}

// familyOf returns the name of the metric that a series belongs to.
func familyOf(series string, known map[string]*family) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(series, suffix); ok && known[base] != nil && known[base].kind == "histogram" {
			return base
		}
	}
	return series
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
func (f *family) add(line []byte, off []string) {
	name, value, ok := "", "", false
	if len(off) > 0 {
		name, value, ok = cutSeries(strings.TrimSuffix(string(line), "\n"), off)
	}
	if !ok {
		f.parts = append(f.parts, line)
		return
	}
	if f.sums == nil {
		f.sums = make(map[string]int)
	}
	i, again := f.sums[name]
	if again {
		_, before := cutLast(strings.TrimSuffix(string(f.parts[i]), "\n"))
		value = add(before, value)
	} else {
		i = len(f.parts)
		f.sums[name], f.parts = i, append(f.parts, nil)
	}
	f.parts[i] = []byte(name + " " + value + "\n")
}

// cutSeries takes the labels that are switched off out of the name of a series; ok says
// that it had one of them.
func cutSeries(line string, off []string) (name, value string, ok bool) {
	series, value := cutLast(line)
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

// cutLast cuts a line before its value, which follows the last space.
func cutLast(line string) (series, value string) {
	i := strings.LastIndexByte(line, ' ')
	return line[:i], line[i+1:]
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
		exemplars = s.exemplars(offLabels(&s.current.Load().config.Metrics))
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

// exemplars returns the exemplars of histograms, by the names of their series. Of series that are one because
// labels are switched off, it is the last.
func (s *Server) exemplars(off []string) map[string]string {
	list := make(map[string]string)
	s.metrics.Exemplars(func(series, exemplar string) {
		if name, _, ok := cutSeries(series+" 0", off); ok {
			series = name
		}
		_, at := cutLast(exemplar)
		if before := list[series]; before != "" {
			if _, last := cutLast(before); later(last, at) {
				return
			}
		}
		list[series] = exemplar
	})
	return list
}

// later says whether the time a, in seconds, is after b.
func later(a, b string) bool {
	x, _ := strconv.ParseFloat(a, 64)
	y, _ := strconv.ParseFloat(b, 64)
	return x > y
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
	series := bytes.NewBuffer(make([]byte, 0, s.pageSize.Load()))
	s.writeSeries(series)
	s.pageSize.Store(int64(series.Len() + series.Len()/16)) // the next one, which is rarely much larger
	known := families()
	s.observed.Describe(func(name, kind, help string) {
		if help == "" {
			help = "of the configuration"
		}
		known[name] = &family{help: escapeHelp(help), kind: kind}
	})
	expose(w, series.Bytes(), known, offLabels(&s.current.Load().config.Metrics), exemplars)
}
