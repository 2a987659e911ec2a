package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"weir/config"
	"weir/internal/importer"
)

// FuzzImport: no text makes a translation panic, and what it makes is a configuration of weir.
func FuzzImport(f *testing.F) {
	for program, file := range map[string]string{
		"nginx": "nginx/conf.d/shop.conf", "haproxy": "haproxy/site.cfg", "caddy": "caddy/Caddyfile", "traefik": "traefik/conf.d/shop.yml",
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(program, string(text))
		f.Add(program, "")
	}
	f.Add("nginx", "server{location /{try_files;rewrite;return;if{}}}")
	f.Add("haproxy", "frontend\nbind\nacl\nuse_backend\nhttp-request\nredirect")
	f.Add("caddy", ", {\nroot\nredir\nheader\nbasic_auth\ntry_files\n}")
	f.Fuzz(func(t *testing.T, program, text string) {
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := importer.Import(program, file, importer.Options{}, check)
		if err != nil {
			return
		}
		problems, _ := errors.AsType[config.Errors](check(r.Text))
		for _, p := range problems {
			if !p.Absent {
				t.Errorf("%v\n%s", p, r.Text)
			}
		}
	})
}
