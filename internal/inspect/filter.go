package inspect

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/config"
)

// filter says which exchanges are wanted: those that fit all its terms. Without terms all are.
type filter []term

// term is one condition.
type term func(k *kept) bool

func (f filter) fits(k *kept) bool {
	for _, t := range f {
		if !t(k) {
			return false
		}
	}
	return true
}

// newFilter parses a filter: terms with spaces between, each a word, or KEY OP VALUE.
func newFilter(text string) (f filter, err error) {
	for {
		text = strings.TrimLeft(text, " \t\r\n")
		if text == "" {
			return f, nil
		}
		word, rest, err := cutTerm(text)
		if err != nil {
			return nil, err
		}
		t, err := newTerm(word)
		if err != nil {
			return nil, fmt.Errorf("filter: at %q: %w", word, err)
		}
		f, text = append(f, t), rest
	}
}

// cutTerm cuts the first term off, which ends at a space outside of quotes.
func cutTerm(text string) (word, rest string, err error) {
	quoted := false
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t' || c == '\n' || c == '\r') && !quoted:
			return text[:i], text[i:], nil
		}
	}
	if quoted {
		return "", "", fmt.Errorf("filter: at %q: found a quote without an end", text)
	}
	return text, "", nil
}

// operators are those of terms; a longer one comes before the one that it begins with.
var operators = [...]string{"!=", "!~", ">=", "<=", "=", "~", ">", "<"}

// newTerm parses one term.
func newTerm(word string) (term, error) {
	key, op, value := splitTerm(word)
	value = strings.ReplaceAll(value, `"`, "")
	if op == "" {
		return anywhere(value), nil
	}
	if op[0] == '>' || op[0] == '<' {
		return comparison(key, op, value)
	}
	if key == "body" {
		if op != "~" {
			return nil, fmt.Errorf(`found %q: want "~", because the whole of a body is not kept`, op)
		}
		want := bytes.ToLower([]byte(value))
		return func(k *kept) bool {
			return k.messages[partRequest].contains(want) || k.messages[partResponse].contains(want)
		}, nil
	}
	get, err := textOf(key)
	if err != nil {
		return nil, err
	}
	fits, err := matcher(key, op, value)
	if err != nil {
		return nil, err
	}
	return func(k *kept) bool { return fits(get(k)) }, nil
}

// splitTerm splits a term at its operator; op is empty if it has none.
func splitTerm(word string) (key, op, value string) {
	end := strings.IndexFunc(word, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-')
	})
	if end <= 0 {
		return "", "", word
	}
	for _, op := range operators {
		if strings.HasPrefix(word[end:], op) {
			return strings.ToLower(word[:end]), op, word[end+len(op):]
		}
	}
	return "", "", word
}

// anywhere is the term that is a word.
func anywhere(word string) term {
	word = strings.ToLower(word)
	return func(k *kept) bool {
		return containsFold(k.Host, word) || containsFold(k.Target, word) || strings.EqualFold(k.Method, word) || strconv.Itoa(k.Status) == word
	}
}

// containsFold says whether text has word, which is in lower case.
func containsFold(text, word string) bool { return strings.Contains(strings.ToLower(text), word) }

// texts are the keys of texts.
var texts = map[string]func(k *kept) string{
	"method": func(k *kept) string { return k.Method }, "host": func(k *kept) string { return k.Host },
	"path":   func(k *kept) string { path, _, _ := strings.Cut(k.Target, "?"); return path },
	"target": func(k *kept) string { return k.Target }, "scheme": func(k *kept) string { return k.Scheme },
	"listener": func(k *kept) string { return k.Listener }, "client": func(k *kept) string { return k.Client },
	"user": func(k *kept) string { return k.User }, "route": func(k *kept) string { return k.Route },
	"upstream": func(k *kept) string { return k.Upstream }, "server": func(k *kept) string { return k.TargetURL },
	"status": func(k *kept) string { return strconv.Itoa(k.Status) }, "cause": func(k *kept) string { return k.Cause },
	"error": func(k *kept) string { return k.Error }, "cache": func(k *kept) string { return k.Cache },
	"type": func(k *kept) string { return k.Type }, "id": func(k *kept) string { return k.ID },
	"request_id": func(k *kept) string { return k.RequestID }, "trace_id": func(k *kept) string { return k.TraceID },
	"kind":    func(k *kept) string { return k.Kind },
	"version": func(k *kept) string { return k.Version }, "ok": func(k *kept) string { return strconv.FormatBool(k.OK) },
	"attempts": func(k *kept) string { return strconv.Itoa(k.Attempts) },
}

// numbers are the keys that can be compared.
var numbers = map[string]func(k *kept) float64{
	"status":   func(k *kept) float64 { return float64(k.Status) },
	"attempts": func(k *kept) float64 { return float64(k.Attempts) },
	"duration": func(k *kept) float64 { return k.Duration },
	"in":       func(k *kept) float64 { return float64(k.BytesIn) },
	"out":      func(k *kept) float64 { return float64(k.BytesOut) },
}

// textOf is what a key stands for.
func textOf(key string) (func(k *kept) string, error) {
	if get := texts[key]; get != nil {
		return get, nil
	}
	for prefix, p := range map[string]part{"request.": partRequest, "response.": partResponse} {
		if name, ok := strings.CutPrefix(key, prefix); ok && name != "" {
			return func(k *kept) string { return k.messages[p].field(name) }, nil
		}
	}
	if numbers[key] != nil {
		return nil, fmt.Errorf(`found an operator for texts: want one of ">", ">=", "<", "<=" for %q`, key)
	}
	known := append(slices.Sorted(maps.Keys(texts)), "body", "duration", "in", "out", "request.NAME", "response.NAME")
	err := fmt.Errorf("found key %q: want %s", key, config.OneOf(known))
	if meant := config.Nearest(key, known); meant != "" {
		err = fmt.Errorf("%w; did you mean %q?", err, meant)
	}
	return nil, err
}

// matcher is what an operator and a value say of a text.
func matcher(key, op, value string) (func(text string) bool, error) {
	var fits func(text string) bool
	switch op {
	case "~", "!~":
		want := strings.ToLower(value)
		fits = func(text string) bool { return containsFold(text, want) }
	default:
		var any []func(text string) bool
		for want := range strings.SplitSeq(value, "|") {
			if key == "status" {
				class, ok := strings.CutSuffix(want, "xx")
				if _, err := strconv.Atoi(strings.ReplaceAll(class, "*", "0")); err != nil {
					return nil, fmt.Errorf(`found status %q: want one such as 404, or a class such as 5xx`, want)
				}
				if ok {
					want = class + "*"
				}
			}
			any = append(any, pattern(want))
		}
		fits = func(text string) bool {
			return slices.ContainsFunc(any, func(f func(string) bool) bool { return f(text) })
		}
	}
	if op[0] == '!' {
		return func(text string) bool { return !fits(text) }, nil
	}
	return fits, nil
}

// pattern fits texts, without case, in which "*" of the pattern stands for any text.
func pattern(want string) func(text string) bool {
	pieces := strings.Split(strings.ToLower(want), "*")
	if len(pieces) == 1 {
		return func(text string) bool { return strings.EqualFold(text, want) }
	}
	first, last := pieces[0], pieces[len(pieces)-1]
	return func(text string) bool {
		text = strings.ToLower(text)
		rest, ok := strings.CutPrefix(text, first)
		if !ok || len(rest) < len(last) || !strings.HasSuffix(rest, last) {
			return false
		}
		rest = rest[:len(rest)-len(last)]
		for _, piece := range pieces[1 : len(pieces)-1] {
			i := strings.Index(rest, piece)
			if i < 0 {
				return false
			}
			rest = rest[i+len(piece):]
		}
		return true
	}
}

// comparison is a term with ">" or the like.
func comparison(key, op, value string) (term, error) {
	get := numbers[key]
	if get == nil {
		return nil, fmt.Errorf("found %q for %q: want it for %s", op, key, config.OneOf(slices.Sorted(maps.Keys(numbers))))
	}
	want, err := quantity(key, value)
	if err != nil {
		return nil, err
	}
	return func(k *kept) bool {
		switch v := get(k); op {
		case ">":
			return v > want
		case ">=":
			return v >= want
		case "<":
			return v < want
		default:
			return v <= want
		}
	}, nil
}

// quantity parses what the value of a key is compared with.
func quantity(key, value string) (float64, error) {
	switch key {
	case "duration":
		d, err := time.ParseDuration(value)
		if err != nil {
			return 0, fmt.Errorf(`found duration %q: want one such as "250ms"`, value)
		}
		return d.Seconds(), nil
	case "in", "out":
		var size config.Size
		if err := size.UnmarshalText([]byte(value)); err != nil {
			return 0, fmt.Errorf(`found size %q: want one such as "10KiB"`, value)
		}
		return float64(size), nil
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return 0, fmt.Errorf("found %q: want a number", value)
	}
	return n, nil
}
