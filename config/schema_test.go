package config_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"weir/config"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("weir.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("weir.json") // checks it against the draft's own schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON returns a TOML text as the validator wants it.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	var file map[string]any
	if err := toml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchema(t *testing.T) {
	s := compiled(t)
	good := func(text string) {
		t.Helper()
		if err := s.Validate(asJSON(t, text)); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	}
	bad := func(text, want string) {
		t.Helper()
		if err := s.Validate(asJSON(t, text)); err == nil {
			t.Errorf("the schema accepts %s", text)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v\nwant %q", text, err, want)
		}
	}

	reference, err := os.ReadFile(filepath.Join("..", "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	good(string(reference))
	// a target is a string or a table, a host a string or a list
	good("[upstreams.a]\ntargets = ['demo:a', { url = 'demo:b', weight = 2 }]")
	good("routes = [{ host = 'a.example' }, { host = ['a.example'] }]")
	// a text from the environment may stand for any text type
	good("[lifecycle]\ndrain = '${DRAIN}'")
	// unknown keys, at every depth
	bad("nonsense = 1", "nonsense")
	bad("[upstreams.a.timeouts]\nconect = '1s'", "conect")
	bad("[upstreams.a]\ntargets = [{ uri = 'demo:b' }]", "uri")
	// types
	bad("[lifecycle]\nwatch = 'yes'", "want boolean")
	bad("[lifecycle]\ndrain = 'soon'", "pattern")
	bad("[listeners.limits]\n", "want array")
}

// TestSchemaDescribes fails if a key has no description, which is the doc
// comment of its field.
func TestSchemaDescribes(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(config.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	n := 0
	var visit func(path string, node map[string]any)
	visit = func(path string, node map[string]any) {
		if keys, ok := node["properties"].(map[string]any); ok {
			for name, key := range keys {
				key, path := key.(map[string]any), path+"."+name
				if key["description"] == "" {
					t.Errorf("%s has no description: its field has no doc comment, or schema.go does not embed its file", path)
				}
				n++
				visit(path, key)
			}
		}
		for _, name := range []string{"items", "additionalProperties"} {
			if inner, ok := node[name].(map[string]any); ok {
				visit(path, inner)
			}
		}
		if list, ok := node["anyOf"].([]any); ok {
			for _, inner := range list {
				visit(path, inner.(map[string]any))
			}
		}
	}
	visit("", root)
	if n < 60 {
		t.Errorf("only %d keys were seen", n)
	}
	key := root["properties"].(map[string]any)["lifecycle"].(map[string]any)["properties"].(map[string]any)["drain"].(map[string]any)
	if key["default"] != "30s" || key["type"] != "string" {
		t.Errorf("lifecycle.drain is %v", key)
	}
}
