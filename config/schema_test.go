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
	names := map[string][]string{"upstreams.balance": {"round_robin", "p2c"}, "upstreams.retry.on": {"connect", "reset", "timeout", "503"}}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(config.Schema(names)))
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
	const listener, route = "listeners = [{ address = ':80' }]\n", "routes = [{ upstream = 'a' }]\n"
	good(listener + route + "[upstreams.a]\ntargets = ['demo:a', { url = 'demo:b', weight = 2 }]")
	good(listener + "routes = [{ host = 'a.example', respond = {} }, { host = ['a.example'], redirect.to = '/' }]")
	// a text from the environment may stand for any text type
	good(listener + route + "[lifecycle]\ndrain = '${DRAIN}'\n[log]\nlevel = '${LEVEL}'")
	// and for a number, a boolean or a short form
	good(listener + "routes = [{ redirect = { to = '/', status = '${S}' }, cache = '${C}' }]\n[lifecycle]\nwatch = '${W}'\n" +
		"[upstreams.a]\ntargets = [{ url = 'demo:a', weight = '${A}' }]\n[upstreams.a.retry]\nbudget = '${B}'")
	// unknown keys, at every depth
	bad("nonsense = 1", "nonsense")
	bad("[upstreams.a.timeouts]\nconect = '1s'", "conect")
	bad("[upstreams.a]\ntargets = [{ uri = 'demo:b' }]", "uri")
	// types
	bad("[lifecycle]\nwatch = 'yes'", "/lifecycle/watch")
	bad("[lifecycle]\ndrain = 'soon'", "pattern")
	bad("[listeners.limits]\n", "want array")
	// values and bounds, which are those of Validate
	bad("[log]\nlevel = 'verbose'", "/log/level")
	bad("[upstreams.a]\nbalance = 'leastconn'", "/upstreams/a/balance")
	bad("[upstreams.a.retry]\nattempts = 99", "maximum: got 99, want 8")
	bad("[upstreams.a.retry]\nbudget = 1.5", "maximum")
	bad("[upstreams.a.health]\ninterval = '0s'", "/upstreams/a/health/interval")
	bad("[upstreams.a.retry]\non = ['conect']", "/upstreams/a/retry/on/0")
	bad("routes = [{ redirect = { to = '/', status = 200 } }]", "/routes/0/redirect/status")
	bad("routes = [{ respond.status = 199 }]", "minimum: got 199, want 200")
	bad("routes = [{ scheme = 'ftp', respond = {} }]", "/routes/0/scheme")
	bad("listeners = [{ address = ':80', min_tls = '1.4' }]", "/listeners/0/min_tls")
	bad("[upstreams.a]\ntargets = [{ url = 'demo:a', weight = 0 }]", "minimum: got 0, want 1")
	// required keys
	bad("listeners = [{ name = 'a' }]", "missing property 'address'")
	bad("listeners = [{ address = ':443', certificates = [{ cert = 'a' }] }]", "missing property 'key'")
	bad("[upstreams.a]\nbalance = 'p2c'", "missing property 'targets'")
	bad("routes = [{ redirect.status = 301 }]", "missing property 'to'")
	bad("routes = [{ host = 'a' }]", "missing property 'upstream'")
	bad("routes = [{ upstream = 'a', respond = {} }]", "oneOf")
	bad(route, "missing property 'listeners'")
}

// TestSchemaDescribes fails if a key has no description, which is the doc
// comment of its field.
func TestSchemaDescribes(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(config.Schema(nil), &root); err != nil {
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
