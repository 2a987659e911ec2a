package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Origin is a key with its value, for people, and what has set it.
type Origin struct {
	// Key is the path, as Key writes it.
	Key string `json:"key"`
	// Value is without secrets, as Show has it.
	Value string `json:"value"`
	// From is "FILE:LINE", "environment variable NAME", or "default".
	From string `json:"from"`
}

// Origins returns the keys that differ from their defaults, or all, in the order of their paths,
// with what has set them.
func (c *Config) Origins(all bool) []Origin {
	var list []Origin
	c.origins("", c.Show(false), &list)
	if !all {
		return list
	}
	set := make(map[string]bool, len(list))
	for _, o := range list {
		set[o.Key] = true
	}
	list = nil
	c.origins("", c.Show(true), &list)
	for i, o := range list {
		if !set[o.Key] && (c.source == nil || !c.Written(o.Key)) {
			list[i].From = "default"
		}
	}
	return list
}

// origins adds the keys of a value that Show has made.
func (c *Config) origins(path string, v any, list *[]Origin) {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			c.origins(child(path, name), v[name], list)
		}
		if len(v) > 0 || path == "" {
			return
		}
	case []map[string]any:
		for i, table := range v {
			c.origins(element(path, i), table, list)
		}
		return
	case []any:
		for i, value := range v {
			c.origins(element(path, i), value, list)
		}
		return
	}
	*list = append(*list, Origin{Key: path, Value: valueText(v), From: c.origin(path)})
}

// valueText returns a value as TOML has it.
func valueText(v any) string {
	if text, ok := v.(string); ok {
		return strconv.Quote(text)
	}
	if b, err := json.Marshal(v); err == nil {
		return string(b)
	}
	return fmt.Sprint(v)
}

// origin says what has set a key.
func (c *Config) origin(key string) string {
	if c.source == nil {
		return "the program"
	}
	for ; key != ""; key = parent(key) {
		at, ok := c.source.lines[key]
		switch {
		case !ok:
			continue
		case at.line > 0:
			return at.file + ":" + strconv.Itoa(at.line)
		}
		return at.file
	}
	return "default"
}
