package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/importer"
)

func FuzzNginx(f *testing.F) {
	fuzz(f, "nginx", "*.conf", "server{location /{try_files;rewrite;return;if{}}}", "server{location ~ ^/(a|b)?[a-c]$ {deny all;}location ^~ / {}location /a {}}")
}

func FuzzHAProxy(f *testing.F) {
	fuzz(f, "haproxy", "*.cfg", "frontend\nbind\nacl\nuse_backend\nhttp-request\nredirect")
}

func FuzzCaddy(f *testing.F) {
	fuzz(f, "caddy", "*.Caddyfile", ", {\nroot\nredir\nheader\nbasic_auth\ntry_files\n}")
}

func FuzzTraefik(f *testing.F) {
	fuzz(f, "traefik", "*.yml")
}

// fuzz checks that no text makes a translation panic or stand still, and that what it makes is a configuration of weir.
func fuzz(f *testing.F, program, samples string, seeds ...string) {
	files, err := filepath.Glob(filepath.Join("testdata/samples", program, samples))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, seed := range append(seeds, "") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") || strings.Contains(text, "import") {
			return // it could read any file of this machine
		}
		file := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		hangs := time.AfterFunc(time.Minute, func() { panic("stands still with " + text) })
		defer hangs.Stop()
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
