package observe

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"weir/config"
	"weir/internal/head"
	"weir/proxy"
)

// rule is one [[routes.metrics]].
type rule struct {
	*family
	value  source
	labels []source // in the order of the family's
	each   string
	all    bool // of a stream's documents, not only the last
	types  []string
	limit  int
}

// reading is what a rule finds in a document. It is used again for the next one.
type reading struct {
	// found are the values, and then those of each label; ends are where each list of them ends.
	found []gjson.Result
	ends  []int
	tuple []string
}

// list is what was found of the value, which has the number 0, or of a label.
func (d *reading) list(i int) []gjson.Result {
	if i == 0 {
		return d.found[:d.ends[0]]
	}
	return d.found[d.ends[i-1]:d.ends[i]]
}

// maxReading is how many results a reading has room for that waits to be used again.
const maxReading = 256

// reset drops what was found.
func (d *reading) reset() {
	if cap(d.found) > maxReading {
		d.found = nil
	}
	clear(d.found[:cap(d.found)])
	clear(d.tuple[:cap(d.tuple)])
	d.found, d.ends, d.tuple = d.found[:0], d.ends[:0], d.tuple[:0]
}

func newRule(m *config.RouteMetric, f *family) *rule {
	r := &rule{
		family: f, each: m.Each, all: m.Events == "all", types: m.ContentTypes, limit: int(m.MaxBody),
	}
	value, _ := m.ParseValue() // which Validate has done
	r.value = newSource(value)
	for _, name := range f.shape.labels {
		label, _ := m.ParseLabel(name)
		r.labels = append(r.labels, newSource(label))
	}
	return r
}

// looksInside says whether the rule needs a body.
func (r *rule) looksInside() bool {
	return r.each != "" || r.value.inBody() || slices.ContainsFunc(r.labels, func(s source) bool { return s.inBody() })
}

// takes says whether the rule is about bodies of this media type, which is in lower case.
func (r *rule) takes(mediaType string) bool {
	return slices.ContainsFunc(r.types, func(pattern string) bool {
		wantType, wantSub, _ := strings.Cut(pattern, "/")
		kind, sub, ok := strings.Cut(mediaType, "/")
		if !ok || wantType != "*" && !strings.EqualFold(wantType, kind) {
			return false
		}
		if suffix, ok := strings.CutPrefix(wantSub, "*"); ok {
			return strings.HasSuffix(sub, strings.ToLower(suffix))
		}
		return strings.EqualFold(wantSub, sub)
	})
}

// mediaType is the media type of a Content-Type, in lower case and without parameters.
func mediaType(contentType []byte) string {
	value, _, _ := bytes.Cut(contentType, []byte(";"))
	return strings.ToLower(string(bytes.TrimSpace(value)))
}

// has says whether a document of a stream is one that the rule may observe: it has the
// value, or one of the labels if the value is not in the body.
func (r *rule) has(doc []byte) bool {
	if r.each != "" {
		return gjson.GetBytes(doc, r.each).Exists()
	}
	if r.value.inBody() {
		return gjson.GetBytes(doc, r.value.Arg).Exists()
	}
	return slices.ContainsFunc(r.labels, func(s source) bool { return s.inBody() && gjson.GetBytes(doc, s.Arg).Exists() })
}

// maxObservations bounds those from one document.
const maxObservations = 10_000

// parse reads a document of JSON; ok is false if doc is no JSON. What parse returns is a part of doc.
func parse(doc []byte) (parsed gjson.Result, ok bool) {
	text := unsafe.String(unsafe.SliceData(doc), len(doc))
	if !gjson.Valid(text) {
		return parsed, false
	}
	return gjson.Parse(text), true
}

// parsed observes a document that was parsed; h is the head of its message.
func (r *rule) parsed(x *proxy.Exchange, h *head.Head, doc gjson.Result, d *reading) {
	if r.each == "" {
		r.element(x, h, doc, d)
		return
	}
	list := doc.Get(r.each)
	if !list.IsArray() {
		r.skip(missing)
		return
	}
	n := 0
	list.ForEach(func(_, element gjson.Result) bool {
		if n++; n > maxObservations {
			r.skip(tooMany)
			return false
		}
		r.element(x, h, element, d)
		return true
	})
}

// element makes the observations of a document or of an element of its list.
func (r *rule) element(x *proxy.Exchange, h *head.Head, doc gjson.Result, d *reading) {
	d.found, d.ends = d.found[:0], d.ends[:0]
	if !r.value.read(x, h, doc, d) {
		r.skip(missing)
		return
	}
	n := len(d.list(0))
	for i := range r.labels {
		if !r.labels[i].read(x, h, doc, d) {
			r.skip(missing)
			return
		}
		// A number that stands in no list counts once for each label that does.
		if n == 1 && !r.value.inBody() {
			n = len(d.list(i + 1))
		}
	}
	for i := range r.labels {
		if found := len(d.list(i + 1)); found != n && found != 1 {
			r.skip(uneven)
			return
		}
	}
	if n > maxObservations {
		r.skip(tooMany)
		n = maxObservations
	}
	values := d.list(0)
	for i := range n {
		d.tuple = d.tuple[:0]
		for l := range r.labels {
			list := d.list(l + 1)
			d.tuple = append(d.tuple, list[i%len(list)].String())
		}
		value, ok := numberOf(values[i%len(values)])
		if !ok {
			r.skip(notNumber)
			continue
		}
		r.observe(value, d.tuple)
	}
}

// numberOf is v as a number; ok is false if v is no number. True is 1, false is 0.
func numberOf(v gjson.Result) (number float64, ok bool) {
	switch {
	case v.Type == gjson.Number:
		return v.Num, true
	case v.Type == gjson.True, v.Str == "true":
		return 1, true
	case v.Type == gjson.False, v.Str == "false":
		return 0, true
	case v.Type != gjson.String:
		return 0, false
	}
	number, err := strconv.ParseFloat(v.Str, 64)
	return number, err == nil
}

// read adds what a source says to d: one result, or those of a list in the body. It is false if the source says nothing.
func (s *source) read(x *proxy.Exchange, h *head.Head, doc gjson.Result, d *reading) bool {
	before, is := len(d.found), true
	switch {
	case !s.inBody():
		var text string
		text, is = s.text(x, h)
		d.found = append(d.found, gjson.Result{Type: gjson.String, Str: text})
	case s.member != "":
		is = d.addMembers(doc.Get(s.array), s.member)
	default:
		is = d.add(doc.Get(s.Arg))
	}
	d.ends = append(d.ends, len(d.found))
	return is && len(d.found) > before
}

// add adds one result, or those of a list; it is false for what is neither.
func (d *reading) add(found gjson.Result) bool {
	if !found.IsArray() {
		d.found = append(d.found, found)
		return found.Exists() && found.Type != gjson.Null && !found.IsObject()
	}
	found.ForEach(func(_, v gjson.Result) bool {
		d.found = append(d.found, v)
		return true
	})
	return true
}

// addMembers adds a member of all elements of an array that have it; it is false for what is no array.
func (d *reading) addMembers(array gjson.Result, member string) bool {
	if !array.IsArray() {
		return false
	}
	array.ForEach(func(_, element gjson.Result) bool {
		if v := element.Get(member); v.Exists() {
			d.found = append(d.found, v)
		}
		return true
	})
	return true
}
