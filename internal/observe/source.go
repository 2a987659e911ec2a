package observe

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"weir/config"
	"weir/internal/field"
	"weir/internal/head"
	"weir/proxy"
)

// init adds what gjson lacks: it keeps modifiers in a map of its own, without a lock, which must not change any more
// once a goroutine asks for values.
func init() {
	gjson.AddModifier("argmax", func(json, _ string) string {
		return fold(json, func(i int, _ float64) string { return strconv.Itoa(i) })
	})
	gjson.AddModifier("max", func(json, _ string) string {
		return fold(json, func(_ int, v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) })
	})
}

// fold makes what result says of the largest number of a list and its place; of a list
// of lists it makes the list of theirs.
func fold(json string, result func(i int, v float64) string) string {
	best, at, nested := 0.0, -1, []string(nil)
	i := 0
	gjson.Parse(json).ForEach(func(_, v gjson.Result) bool {
		switch {
		case v.IsArray():
			nested = append(nested, fold(v.Raw, result))
		case v.Type == gjson.Number && (at < 0 || v.Num > best):
			best, at = v.Num, i
		}
		i++
		return true
	})
	switch {
	case nested != nil:
		return "[" + strings.Join(nested, ",") + "]"
	case at < 0:
		return ""
	}
	return result(at, best)
}

// source is where a value or a label comes from.
type source struct {
	config.MetricSource
	name head.Name // of "header"
	// array and member are set if the path of a "json" is that of a member of all elements of an array, array.#.member.
	array, member string
}

// membersOf is a path of plain names with one # between them. gjson writes a new document for what such a path finds.
var membersOf = regexp.MustCompile(`^((?:[A-Za-z_][\w-]*\.)+)#\.([A-Za-z_][\w-]*)$`)

func newSource(s config.MetricSource) source {
	made := source{MetricSource: s}
	switch s.Kind {
	case "header":
		made.name = head.NewName(s.Arg)
	case "json":
		if found := membersOf.FindStringSubmatch(s.Arg); found != nil {
			made.array, made.member = strings.TrimSuffix(found[1], "."), found[2]
		}
	}
	return made
}

func (s *source) inBody() bool { return s.Kind == "json" }

// text is what a source outside of the body says of an exchange; ok is false if it says nothing.
func (s *source) text(x *proxy.Exchange, h *head.Head) (text string, ok bool) {
	switch s.Kind {
	case "number", "text":
		return s.Arg, true
	case "status":
		return strconv.Itoa(x.Result.Status), x.Result.Status != 0
	case "method":
		return string(x.Request.Method()), true
	case "header":
		value := h.Get(s.name)
		return string(value), value != nil
	case "capture":
		value := x.Captures.Get(s.Arg)
		return string(value), value != nil
	case "query":
		value := field.Parameter(x.Query, s.Arg)
		return string(field.AppendDecoded(nil, value)), value != nil
	}
	return "", false
}
