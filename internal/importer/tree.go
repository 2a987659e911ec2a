package importer

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"

	"weir/config"
)

// node is a value of YAML or TOML, and where it stands. Names are compared without their case, as
// Traefik does. The zero node is nothing.
type node struct {
	at    Place
	key   string
	text  string // of a scalar
	items []*node
	table bool
}

// get follows keys; nothing, if they are not there.
func (n *node) get(keys ...string) *node {
	for _, k := range keys {
		i := slices.IndexFunc(n.items, func(c *node) bool { return n.table && strings.EqualFold(c.key, k) })
		if i < 0 {
			return new(node)
		}
		n = n.items[i]
	}
	return n
}

// is says whether there is a value.
func (n *node) is() bool { return n.at.File != "" }

// texts are the elements of a list, or the one scalar.
func (n *node) texts() (all []string) {
	if n.text != "" {
		return []string{n.text}
	}
	for _, c := range n.items {
		all = append(all, c.text)
	}
	return all
}

// readTree reads a file of YAML, or of TOML if its name says so.
func readTree(file string) (*node, error) {
	data, err := config.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(filepath.Ext(file), ".toml") {
		var v map[string]any
		if err := toml.Unmarshal(data, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return fromTOML(file, config.Lines(data), nil, v), nil
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(document.Content) == 0 {
		return new(node), nil
	}
	return fromYAML(file, "", document.Content[0], 0), nil
}

func fromYAML(file, key string, y *yaml.Node, depth int) *node {
	n := &node{at: Place{file, y.Line}, key: key}
	if y.Kind == yaml.AliasNode && depth < maxIncludes {
		return fromYAML(file, key, y.Alias, depth+1)
	}
	switch y.Kind {
	case yaml.MappingNode:
		n.table = true
		for i := 0; i+1 < len(y.Content); i += 2 {
			c := fromYAML(file, y.Content[i].Value, y.Content[i+1], depth)
			c.at.Line = y.Content[i].Line
			n.items = append(n.items, c)
		}
	case yaml.SequenceNode:
		for _, e := range y.Content {
			n.items = append(n.items, fromYAML(file, "", e, depth))
		}
	case yaml.ScalarNode:
		n.text = y.Value
	}
	return n
}

// fromTOML reads the value at a key path.
func fromTOML(file string, lines map[string]int, keys []any, v any) *node {
	n := &node{at: Place{file, lines[config.Key(keys...)]}}
	if len(keys) > 0 {
		n.key, _ = keys[len(keys)-1].(string)
	}
	below := func(key, v any) {
		n.items = append(n.items, fromTOML(file, lines, append(slices.Clip(keys), key), v))
	}
	switch v := v.(type) {
	case map[string]any:
		n.table = true
		for name, e := range v {
			below(name, e)
		}
		slices.SortFunc(n.items, func(a, b *node) int { return cmp.Or(a.at.Line-b.at.Line, strings.Compare(a.key, b.key)) })
	case []map[string]any:
		for i, e := range v {
			below(i, e)
		}
	case []any:
		for i, e := range v {
			below(i, e)
		}
	default:
		n.text = fmt.Sprint(v)
	}
	if n.at.Line == 0 && len(n.items) > 0 {
		n.at.Line = n.items[0].at.Line
	}
	return n
}
