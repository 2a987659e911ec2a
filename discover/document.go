package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"weir/config"
	"weir/lb"
)

// maxPriority is the number of the last group of targets.
const maxPriority = 15

// ParseEndpoints reads a document that lists endpoints: in TOML or JSON a table with the key
// "targets", or in JSON the list alone. Each endpoint is what ParseEndpoint reads. Those that
// cannot be used are left out, and bad says why, one by one. err says that the document as a whole
// cannot be used, perhaps because it has endpoints and none is good.
func ParseEndpoints(text []byte) (good []lb.Endpoint, bad []error, err error) {
	list, err := parseList(text)
	if err != nil {
		return nil, nil, err
	}
	good, bad = endpointsOf("targets", list)
	if len(good) == 0 && len(bad) > 0 {
		return nil, bad, fmt.Errorf("none of the targets can be used: %w", bad[0])
	}
	return good, bad, nil
}

// ParseEntries reads a document that lists the endpoints of services: in TOML or JSON a table with the key
// "services", which has a list for each "NAME/VERSION", or NAME without a version. What is wrong with an endpoint is in
// its entry. Names that no service may have are left out, and bad says why; err is as that of ParseEndpoints.
func ParseEntries(text []byte) (entries []Entry, bad []error, err error) {
	value, err := parse(text)
	if err != nil {
		return nil, nil, err
	}
	table, _ := value.(map[string]any)
	services, ok := table["services"].(map[string]any)
	if !ok || len(table) != 1 {
		return nil, nil, errors.New(`found no table "services", or more than that: want {"services": {"NAME/VERSION": [endpoints]}}`)
	}
	for _, key := range slices.Sorted(maps.Keys(services)) {
		name, version, err := ParseService(key)
		if err != nil {
			bad = append(bad, fmt.Errorf("services: %w", err))
			continue
		}
		list, err := listOf(services[key])
		if err != nil {
			entries = append(entries, Entry{Name: name, Version: version, Wrong: fmt.Errorf("services.%s: %w", key, err)})
			continue
		}
		endpoints, wrong := endpointsOf("services."+key, list)
		entries = append(entries, EntriesOf(name, version, endpoints)...)
		for _, err := range wrong {
			entries = append(entries, Entry{Name: name, Version: version, Wrong: err})
		}
	}
	return entries, bad, noneUsable(entries, bad)
}

// noneUsable returns an error if all entries are wrong, or if there are only reasons, in bad, why there are no entries; nil if
// there is an entry that can be used, or nothing at all.
func noneUsable(entries []Entry, bad []error) error {
	for _, e := range entries {
		if e.Wrong == nil {
			return nil
		}
		bad = append(bad, e.Wrong)
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("none of the entries can be used: %w", bad[0])
}

// ParseEndpoint reads one endpoint: a URL, or "host:port" for one of http, as plain text or as a JSON
// string, or a JSON object with "url" and, if they are not 1, 0 and false, "weight", "priority" and
// "drain".
func ParseEndpoint(text []byte) (lb.Endpoint, error) {
	text = bytes.TrimSpace(text)
	if len(text) > 0 && (text[0] == '{' || text[0] == '"') {
		value, err := parseJSON(text)
		if err != nil {
			return lb.Endpoint{}, err
		}
		return endpointOf(value)
	}
	return endpointOf(string(text))
}

// parseList reads a document up to its endpoints.
func parseList(text []byte) ([]any, error) {
	value, err := parse(text)
	if err != nil {
		return nil, err
	}
	if list, ok := value.([]any); ok {
		return list, nil
	}
	table, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("found %s: want a list of targets", describe(value))
	}
	for key := range table {
		if key != "targets" {
			return nil, fmt.Errorf(`found the key %q: want "targets" alone`, key)
		}
	}
	if table["targets"] == nil {
		return nil, errors.New(`found no key "targets": want a list, perhaps an empty one`)
	}
	list, err := listOf(table["targets"])
	if err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	return list, nil
}

// listOf returns a list of endpoints.
func listOf(value any) ([]any, error) {
	switch list := value.(type) {
	case []any:
		return list, nil
	case []map[string]any:
		var all []any
		for _, table := range list {
			all = append(all, table)
		}
		return all, nil
	}
	return nil, fmt.Errorf("found %s: want a list", describe(value))
}

// byteOrderMark is what some editors write at the beginning of UTF-8.
var byteOrderMark = []byte("\ufeff")

// parse reads JSON or TOML.
func parse(text []byte) (any, error) {
	text = bytes.TrimSpace(bytes.TrimPrefix(text, byteOrderMark))
	if !utf8.Valid(text) {
		return nil, errors.New("found bytes that are not UTF-8: want TOML or JSON")
	}
	// A table of TOML begins with "[" too, but then a list of JSON cannot follow.
	if len(text) > 0 && (text[0] == '{' || json.Valid(text)) {
		return parseJSON(text)
	}
	table := make(map[string]any)
	if _, err := toml.Decode(string(text), &table); err != nil {
		return nil, fmt.Errorf("found neither TOML nor JSON: %w", err)
	}
	return table, nil
}

// parseJSON reads JSON with whole numbers as int64, as TOML has them.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("found no JSON: %w", err)
	}
	if d.More() {
		return nil, errors.New("found more after the JSON: want one value")
	}
	return value, nil
}

// endpointsOf makes endpoints of the values of a list. bad says which of them, below a key, cannot be used.
func endpointsOf(key string, list []any) (good []lb.Endpoint, bad []error) {
	for i, value := range list {
		e, err := endpointOf(value)
		if err != nil {
			bad = append(bad, fmt.Errorf("%s[%d]: %w", key, i, err))
			continue
		}
		good = append(good, e)
	}
	return good, bad
}

// endpointOf makes an endpoint of a string or a table.
func endpointOf(value any) (lb.Endpoint, error) {
	e := lb.Endpoint{Weight: 1}
	switch value := value.(type) {
	case string:
		e.URL = value
	case map[string]any:
		for key, value := range value {
			if err := setKey(&e, key, value); err != nil {
				return e, err
			}
		}
	default:
		return e, fmt.Errorf("found %s: want a URL or a table with url", describe(value))
	}
	if host, port, err := net.SplitHostPort(e.URL); err == nil && host != "" && isPort(port) {
		e.URL = "http://" + e.URL
	}
	t := config.Target{URL: e.URL}
	if found, want := t.URLProblem(); want != "" {
		return e, fmt.Errorf("found %s: want %s", found, want)
	}
	e.URL = t.Origin()
	return e, nil
}

// FormatEndpoint returns what ParseEndpoint reads.
func FormatEndpoint(e lb.Endpoint) []byte {
	text, err := json.Marshal(map[string]any{"url": e.URL, "weight": max(e.Weight, 1), "priority": e.Priority, "drain": e.Drain})
	if err != nil {
		panic("BUG: cannot encode an endpoint: " + err.Error())
	}
	return text
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// setKey sets what a key of an endpoint's table says.
func setKey(e *lb.Endpoint, key string, value any) error {
	want := ""
	ok := false
	switch key {
	case "url":
		e.URL, ok = value.(string)
		want = "a string"
	case "weight":
		e.Weight, ok = whole(value, 1, config.MaxWeight)
		want = fmt.Sprintf("a whole number of 1 to %d (drain = true sends nothing)", config.MaxWeight)
	case "priority":
		e.Priority, ok = whole(value, 0, maxPriority)
		want = fmt.Sprintf("a whole number of 0 to %d", maxPriority)
	case "drain":
		e.Drain, ok = value.(bool)
		want = "true or false"
	default:
		return fmt.Errorf("found the key %q: want url, weight, priority or drain", key)
	}
	if !ok {
		return fmt.Errorf("%s: found %s: want %s", key, describe(value), want)
	}
	return nil
}

// whole returns a whole number of least to most.
func whole(value any, least, most int) (int, bool) {
	var n int64
	switch value := value.(type) {
	case int64:
		n = value
	case json.Number:
		parsed, err := value.Int64()
		if err != nil {
			return 0, false
		}
		n = parsed
	default:
		return 0, false
	}
	return int(n), n >= int64(least) && n <= int64(most)
}

// describe says what a document has.
func describe(value any) string {
	switch value := value.(type) {
	case string:
		return strconv.Quote(value)
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "a list"
	case nil:
		return "null"
	}
	return fmt.Sprint(value)
}
