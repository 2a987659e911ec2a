package observe

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"weir/internal/figures"
)

// shape is what makes a family: if a reload changes any of it, counting begins anew.
type shape struct {
	route, name, kind, help string
	labels                  []string // in alphabetical order
	buckets                 []float64
	values                  int // the most values of a label
}

func (s *shape) equal(b *shape) bool {
	return s.route == b.route && s.name == b.name && s.kind == b.kind && s.values == b.values &&
		slices.Equal(s.labels, b.labels) && slices.Equal(s.buckets, b.buckets)
}

// maxSeries bounds the series of a family: labels multiply.
const maxSeries = 1000

// maxLabel bounds the bytes of a label's value.
const maxLabel = 128

// family is the series of one name in one route.
type family struct {
	shape

	mu     sync.Mutex
	tops   []*top // by label
	series map[string]*series
	key    []byte // of the series that is looked for
	// skipped counts what could not be observed, by reason.
	skipped [reasons]uint64
}

// series is what is counted for one combination of labels.
type series struct {
	labels []string
	value  float64  // of a counter and a gauge; the sum of a histogram
	counts []uint64 // by bucket; the last one has no bound
}

func newFamily(s shape) *family {
	f := &family{shape: s, series: make(map[string]*series)}
	for range s.labels {
		f.tops = append(f.tops, newTop(s.values))
	}
	return f
}

// observe counts value, which is a number, for labels, which it may change, and of whose texts it keeps nothing.
func (f *family) observe(value float64, labels []string) {
	if math.IsNaN(value) || math.IsInf(value, 0) || f.kind == "counter" && value < 0 {
		f.skip(notNumber)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, text := range labels {
		label, evicted, lost := f.tops[i].use(clean(text))
		if lost {
			f.foldLocked(i, evicted)
		}
		labels[i] = label
	}
	s := f.atLocked(labels)
	switch f.kind {
	case "counter":
		s.value += value
	case "gauge":
		s.value = value
	default:
		i, _ := slices.BinarySearch(f.buckets, value)
		s.counts[i]++
		s.value += value
	}
}

// atLocked returns the series of labels; all others are one if there are too many.
func (f *family) atLocked(labels []string) *series {
	s := f.findLocked(labels)
	if s == nil && len(f.series) >= maxSeries {
		labels = slices.Repeat([]string{other}, len(labels))
		s = f.findLocked(labels)
	}
	if s != nil {
		return s
	}
	s = &series{labels: slices.Clone(labels)}
	if f.kind == "histogram" {
		s.counts = make([]uint64, len(f.buckets)+1)
	}
	f.series[string(f.key)] = s
	return s
}

// findLocked returns the series of labels, nil if labels have no series yet, and makes key that of labels.
func (f *family) findLocked(labels []string) *series {
	f.key = f.key[:0]
	for _, text := range labels {
		f.key = append(append(f.key, text...), 0xff) // which clean leaves in no value
	}
	return f.series[string(f.key)]
}

// foldLocked makes what was counted for a value of label i a part of other.
func (f *family) foldLocked(i int, value string) {
	for key, s := range f.series {
		if s.labels[i] != value {
			continue
		}
		delete(f.series, key)
		s.labels[i] = other
		to := f.atLocked(s.labels)
		if f.kind == "gauge" {
			to.value = s.value
			continue
		}
		to.value += s.value
		for b, n := range s.counts {
			to.counts[b] += n
		}
	}
}

// skip counts what could not be observed.
func (f *family) skip(r reason) {
	f.mu.Lock()
	f.skipped[r]++
	f.mu.Unlock()
}

// clean makes text a label's value: short and valid UTF-8.
func clean(text string) string {
	if end := maxLabel; len(text) > end {
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// write writes the series in the text format of Prometheus.
func (f *family) write(w io.Writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(f.series)) {
		s := f.series[key]
		labels := "route=" + figures.Quote(f.route)
		for i, name := range f.labels {
			labels += "," + name + "=" + figures.Quote(s.labels[i])
		}
		if f.kind != "histogram" {
			fmt.Fprintf(w, "%s{%s} %s\n", f.name, labels, number(s.value))
			continue
		}
		total := uint64(0)
		for i, n := range s.counts {
			total += n
			bound := "+Inf"
			if i < len(f.buckets) {
				bound = number(f.buckets[i])
			}
			fmt.Fprintf(w, "%s_bucket{%s,le=%q} %d\n", f.name, labels, bound, total)
		}
		fmt.Fprintf(w, "%s_sum{%s} %s\n%s_count{%s} %d\n", f.name, labels, number(s.value), f.name, labels, total)
	}
	for r, n := range f.skipped {
		if n > 0 {
			fmt.Fprintf(w, "weir_body_metrics_skipped_total{route=%s,metric=%q,reason=%q} %d\n", figures.Quote(f.route), f.name, reason(r).String(), n)
		}
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
