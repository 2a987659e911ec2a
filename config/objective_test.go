package config

import (
	"strings"
	"testing"
	"time"
)

func TestObjectives(t *testing.T) {
	t.Parallel()
	check := func(tables, want string) *Config {
		t.Helper()
		c, err := Parse("test.toml", []byte("[[listeners]]\naddress = \":0\"\n[[routes]]\nname = \"shop\"\nrespond = {}\n"+tables))
		switch {
		case err == nil && want != "":
			t.Errorf("%s: no error, want %q", tables, want)
		case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", tables, err, want)
		}
		return c
	}
	one := func(lines string) string { return "[[objectives]]\nname = \"fast\"\npercent = 99.9\n" + lines + "\n" }
	c := check(one(`below = "300ms"`), "")
	if o := c.Objectives[0]; o.Below.D() != 300*time.Millisecond || !o.Errors || len(o.Windows) != 6 {
		t.Errorf("%+v", o)
	}
	check(one(`routes = "shop"`), "")
	check(one(`routes = ["shpo"]`), `objectives[0].routes[0]: found "shpo": want the name of a route: "shop"; did you mean "shop"?`)
	check("[[objectives]]\npercent = 99\n", `objectives[0].name: found nothing: want a name`)
	check("[[objectives]]\nname = \"fast\"\n", `objectives[0].percent: found 0: want more than 0 and less than 100, such as 99.9`)
	check(strings.Replace(one(""), "99.9", "100", 1), `objectives[0].percent: found 100`)
	check(strings.Replace(one(""), "99.9", "nan", 1), `objectives[0].percent: found NaN`)
	check(one(`errors = false`), `objectives[0].errors: found false without below`)
	check(one(`windows = []`), `objectives[0].windows: found []: want at least one`)
	check(one(`windows = ["1h", "59s"]`), `objectives[0].windows[1]: found "59s": want "1m" to "720h", each once`)
	check(one(`windows = ["1h", "60m"]`), `objectives[0].windows[1]: found "1h"`)
	check(one("")+one(""), `objectives[1].name: found "fast": want another than at objectives[0].name`)
	check("[statistics]\npaths = 0\nmax_paths = 0\n", `statistics.paths: found 0: want 1 to 10000`)
	check("[metrics]\nhistograms = \"native\"\n", `metrics.histograms: found "native": want one of "prometheus", "victoriametrics"`)
}
