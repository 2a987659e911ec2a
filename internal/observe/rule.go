package observe

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

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

// mediaType is the media type of a message, in lower case and without parameters.
func mediaType(h *head.Head) string {
	value, _, _ := bytes.Cut(h.Get(head.ContentType), []byte(";"))
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

// parse reads a document of JSON; ok is false for what is none.
func parse(doc []byte) (parsed gjson.Result, ok bool) {
	if !gjson.ValidBytes(doc) {
		return parsed, false
	}
	return gjson.ParseBytes(doc), true
}

// document observes what a document of JSON says; h is the head of its message.
func (r *rule) document(x *proxy.Exchange, h *head.Head, doc []byte) {
	if parsed, ok := parse(doc); ok {
		r.parsed(x, h, parsed)
	} else {
		r.skip(notJSON)
	}
}

// parsed observes a document that was parsed.
func (r *rule) parsed(x *proxy.Exchange, h *head.Head, doc gjson.Result) {
	if r.each == "" {
		r.element(x, h, doc)
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
		r.element(x, h, element)
		return true
	})
}

// element makes the observations of a document or of an element of its list.
func (r *rule) element(x *proxy.Exchange, h *head.Head, doc gjson.Result) {
	values, ok := r.value.list(x, h, doc)
	if !ok {
		r.skip(missing)
		return
	}
	n := len(values)
	labels := make([][]string, len(r.labels))
	for i := range r.labels {
		list, ok := r.labels[i].list(x, h, doc)
		if !ok {
			r.skip(missing)
			return
		}
		// A number that stands in no list counts once for each label that does.
		if n == 1 && !r.value.inBody() {
			n = len(list)
		}
		labels[i] = list
	}
	for _, list := range labels {
		if len(list) != n && len(list) != 1 {
			r.skip(uneven)
			return
		}
	}
	if n > maxObservations {
		r.skip(tooMany)
		n = maxObservations
	}
	tuple := make([]string, len(labels))
	for i := range n {
		for l, list := range labels {
			tuple[l] = list[i%len(list)]
		}
		r.count(values[i%len(values)], tuple)
	}
}

// count is observe with a value that is still a text.
func (r *rule) count(text string, labels []string) {
	value, err := strconv.ParseFloat(text, 64)
	switch {
	case text == "true":
		value = 1
	case text == "false":
		value = 0
	case err != nil:
		r.skip(notNumber)
		return
	}
	r.observe(value, labels)
}

// list is what a source says: one text, or those of a list in the body.
func (s *source) list(x *proxy.Exchange, h *head.Head, doc gjson.Result) (list []string, ok bool) {
	if !s.inBody() {
		text, ok := s.text(x, h)
		return []string{text}, ok
	}
	found := doc.Get(s.Arg)
	if !found.IsArray() {
		return []string{found.String()}, found.Exists() && found.Type != gjson.Null && !found.IsObject()
	}
	found.ForEach(func(_, v gjson.Result) bool {
		list = append(list, v.String())
		return true
	})
	return list, len(list) > 0
}
