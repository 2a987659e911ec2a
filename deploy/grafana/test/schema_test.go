// Package test compares the dashboards with Grafana's schema, in a module of its own.
package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// units are those of Grafana that the dashboards use.
var units = []string{"", "short", "s", "bytes", "Bps", "percentunit", "reqps", "cps"}

// board is what the schema says nothing of.
type board struct {
	UID    string
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			Datasource struct{ Type, UID string }
			RefID      string
		}
		FieldConfig struct{ Defaults struct{ Unit string } }
	}
	Templating struct {
		List []struct{ Name, Type, Query any }
	}
}

func TestDashboards(t *testing.T) {
	plugins.RegisterDefaultPlugins() // the schemas of panels and queries
	files, err := filepath.Glob("../*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Strict: no field is unknown, and none is missing that Grafana writes itself.
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
			t.Errorf("%s is not as the schema has it: %v", file, err)
		}
		if err := d.Validate(); err != nil && err.Error() != "" {
			t.Errorf("%s is not valid: %v", file, err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		b.check(t, file)
	}
}

func (b *board) check(t *testing.T, file string) {
	type cell struct{ x, y int }
	taken := make(map[cell]string)
	ids := make(map[int]string)
	for _, p := range b.Panels {
		if other, ok := ids[p.ID]; ok {
			t.Errorf("%s: %q and %q have the id %d", file, other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s: %q is at %+v: want 24 columns", file, p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[cell{x, y}]; ok && other != p.Title {
					t.Errorf("%s: %q lies over %q", file, p.Title, other)
				}
				taken[cell{x, y}] = p.Title
			}
		}
		if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
			t.Errorf("%s: %q has the unit %q: want one of %q", file, p.Title, p.FieldConfig.Defaults.Unit, units)
		}
		refs := make(map[string]bool)
		for _, q := range p.Targets {
			if q.Datasource.Type != "prometheus" || q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %q asks %+v: want the variable ${datasource}", file, p.Title, q.Datasource)
			}
			if refs[q.RefID] {
				t.Errorf("%s: %q has two queries %q", file, p.Title, q.RefID)
			}
			refs[q.RefID] = true
		}
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("%s: %q has no query", file, p.Title)
		}
	}
	if first := b.Templating.List[0]; first.Name != "datasource" || first.Type != "datasource" || first.Query != "prometheus" {
		t.Errorf("%s: the first variable is %+v: want the data source", file, first)
	}
}
