package importer_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"weir/internal/importer"
	"weir/internal/testkit"
)

var update = flag.Bool("update", false, "write the translations of testdata/samples instead of comparing them")

// passwordCost is the usual one, but in quick tests: there the race detector would make a second of each password.
func passwordCost() int { return testkit.Rounds(bcrypt.MinCost, bcrypt.DefaultCost) }

func TestMain(m *testing.M) {
	flag.Parse()
	importer.SetPasswordCost(passwordCost())
	os.Exit(m.Run())
}

// TestSamples: configurations in the style of public ones have translations that somebody has read: those beside
// them, in files that end with .toml.
func TestSamples(t *testing.T) {
	t.Parallel()
	// A hash is made anew in each translation.
	hash := regexp.MustCompile(fmt.Sprintf(`\$2a\$%02d\$[./A-Za-z0-9]{53}`, passwordCost()))
	seen := 0
	for _, kind := range []struct{ program, ending string }{{"nginx", "*.conf"}, {"haproxy", "*.cfg"}, {"caddy", "*.Caddyfile"}, {"traefik", "*.yml"}, {"traefik", "chain.toml"}} {
		files, err := filepath.Glob(filepath.Join("testdata/samples", kind.program, kind.ending))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			seen++
			r, err := importer.Import(kind.program, file, importer.Options{}, check)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			got := hash.ReplaceAll(r.Text, []byte("A HASH"))
			if *update {
				err = os.WriteFile(file+".toml", got, 0o600)
			} else if want, failed := os.ReadFile(file + ".toml"); failed != nil || string(got) != string(want) {
				t.Errorf("%s is translated otherwise; go test ./internal/importer -run TestSamples -update, and look at the difference\n%s", file, got)
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d samples", seen)
	}
}
