package packages_test

import (
	"archive/zip"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// TestModule: "go install" works in a checkout, and by path and version after "make module".
func TestModule(t *testing.T) {
	t.Parallel()
	testkit.Programs(t, "make", "git")
	// With the flags of "make build" most is compiled already.
	const flags = "GOFLAGS=-trimpath -tags=urfave_cli_no_template"
	installed := func(folder, what string, variables ...string) {
		t.Helper()
		bin := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "go", "install", what)
		cmd.Dir = folder
		cmd.Env = append(append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=0", flags), variables...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go install %s: %v\n%s", what, err, out)
		}
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "weir"), "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "weir ") {
			t.Errorf("%v: %s", err, out)
		}
		if _, v, ok := strings.Cut(what, "@"); ok && !strings.HasPrefix(string(out), "weir "+v+" ") {
			t.Errorf("the version is %s", out)
		}
	}
	installed("../..", ".")

	copied := t.TempDir()
	for name := range strings.Lines(command(t, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard")) {
		name = strings.TrimSpace(name)
		text, err := os.ReadFile(filepath.Join("../..", name))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		to := filepath.Join(copied, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, mode); err != nil {
			t.Fatal(err)
		}
	}
	move := exec.CommandContext(t.Context(), "make", "module", "PATH=example.org/weir")
	move.Dir = copied
	if out, err := move.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	published := publish(t, copied, "example.org/weir", "v1.2.3")
	proxies := command(t, nil, "go", "env", "GOPROXY")
	installed(t.TempDir(), "example.org/weir@v1.2.3", "GOPROXY=file://"+published+","+strings.TrimSpace(proxies), "GONOSUMDB=example.org",
		flags+" -gcflags=example.org/weir/...=-N") // compiles faster
}

// publish puts a version of the module in a folder into a file-system proxy, as "go help goproxy"
// describes it, and returns the proxy's folder. Nested modules and tests stay out.
func publish(t *testing.T, folder, module, version string) string {
	t.Helper()
	proxy := t.TempDir()
	at := filepath.Join(proxy, module, "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"list": version + "\n", version + ".info": `{"Version":"` + version + `","Time":"2026-01-02T03:04:05Z"}`, version + ".mod": string(mod),
	} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(at, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	archive := zip.NewWriter(f)
	err = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if path != folder && err == nil {
				if _, nested := os.Stat(filepath.Join(path, "go.mod")); nested == nil {
					return fs.SkipDir
				}
			}
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			return nil
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := archive.Create(module + "@" + version + "/" + filepath.ToSlash(name))
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return proxy
}
