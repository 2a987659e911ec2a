package packages_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"weir/internal/testkit"
)

// command runs a program in the root of the repository, with more variables, and returns what it says.
func command(t *testing.T, variables []string, program string, arguments ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, arguments...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), variables...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, arguments, err, out)
	}
	return string(out)
}

const (
	version = "v1.2.3"
	later   = "v1.3.0-4-gabcdef0" // what git describes four commits after a tag
)

// release builds a release for this machine's architecture, at most one at a time.
func release(t *testing.T, folder, version string, variables ...string) {
	t.Helper()
	testkit.Programs(t, "make", "git")
	building.Lock()
	defer building.Unlock()
	command(t, variables, "bash", "-c", `umask "${UMASK:-022}" && exec make "$@"`, "make", "dist", "DIST="+folder, "VERSION="+version, "PLATFORMS=linux/"+runtime.GOARCH)
}

var building sync.Mutex

// first is a release of version that tests share.
var first struct {
	sync.Once
	folder string
}

func TestMain(m *testing.M) {
	var err error
	if first.folder, err = os.MkdirTemp("", "weir-release"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(first.folder)
	os.Exit(code)
}

// built returns a file of the first release, by the end of its name.
func built(t *testing.T, end string) string {
	t.Helper()
	first.Do(func() { release(t, first.folder, version) })
	return fileOf(t, first.folder, end)
}

func fileOf(t *testing.T, folder, end string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*"+end))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files end in %q, %v", len(found), end, err)
	}
	return found[0]
}

// TestReproducible: a release that is built again, by a user with other settings, is the same.
func TestReproducible(t *testing.T) {
	t.Parallel()
	built(t, ".deb")
	again := t.TempDir()
	release(t, again, version, "TZ=Asia/Kathmandu", "LC_ALL=C.UTF-8", "GOFLAGS=-trimpath", "UMASK=077")
	entries, err := os.ReadDir(first.folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		a, err := os.ReadFile(filepath.Join(first.folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(again, e.Name()))
		if err != nil || string(a) != string(b) {
			t.Errorf("%s is another one the second time, %v", e.Name(), err)
		}
	}
	name := "weir-" + version + "-linux-" + runtime.GOARCH
	if want := []string{"SHA256SUMS", name, name + ".cdx.json", name + ".deb", name + ".rpm"}; !slices.Equal(names, want) {
		t.Errorf("the release has %q, want %q", names, want)
	}
	sums := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = again
	if out, err := sums.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestContents: the list of contents names weir's modules and Go, and the program is static.
func TestContents(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(built(t, ".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		BOMFormat  string
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]string)
	for _, c := range list.Components {
		seen[c.Name] = c.PURL
	}
	if list.BOMFormat != "CycloneDX" || seen["std"] != "pkg:golang/std@"+strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("a list %q with Go %q", list.BOMFormat, seen["std"])
	}
	modules := command(t, nil, "go", "version", "-m", built(t, runtime.GOARCH))
	n := 0
	for line := range strings.Lines(modules) {
		if f := strings.Fields(line); f[0] == "dep" {
			n++
			if want := "pkg:golang/" + f[1] + "@" + f[2]; seen[f[1]] != want {
				t.Errorf("the list has %q, want %q", seen[f[1]], want)
			}
		}
	}
	if n < 10 || !strings.Contains(modules, "CGO_ENABLED=0") {
		t.Errorf("%d modules:\n%s", n, modules)
	}
}

// TestPackages: what the packages contain, and what the tools of Debian think of it.
func TestPackages(t *testing.T) {
	t.Parallel()
	testkit.Programs(t, "rpm", "dpkg-deb", "lintian")
	deb, rpm := built(t, ".deb"), built(t, ".rpm")
	common := []string{
		"/usr/bin/weir", "/etc/weir/config.toml", "/etc/logrotate.d/weir", "/usr/lib/systemd/system/weir.service",
		"/usr/lib/systemd/system/weir.socket", "/usr/lib/sysusers.d/weir.conf", "/usr/share/man/man1/weir.1.gz",
		"/usr/share/bash-completion/completions/weir", "/usr/share/fish/vendor_completions.d/weir.fish", "/usr/share/doc/weir/install.md",
	}
	check := func(what, list, conffiles string, more string) {
		t.Helper()
		for _, name := range append(common, more) {
			if !strings.Contains(list, name+"\n") {
				t.Errorf("%s lacks %s:\n%s", what, name, list)
			}
		}
		if want := "/etc/logrotate.d/weir\n/etc/weir/config.toml"; strings.TrimSpace(conffiles) != want {
			t.Errorf("configuration of %s: %q, want %q", what, conffiles, want)
		}
	}
	check("the .deb", command(t, nil, "dpkg-deb", "-c", deb), sorted(command(t, nil, "dpkg-deb", "-I", deb, "conffiles")), "/usr/share/zsh/vendor-completions/_weir")
	check("the .rpm", command(t, nil, "rpm", "-qpl", rpm), sorted(command(t, nil, "rpm", "-qpc", rpm)), "/usr/share/zsh/site-functions/_weir")
	if got := command(t, nil, "rpm", "--checksig", "--nosignature", rpm); !strings.Contains(got, "digests OK") {
		t.Errorf("the .rpm: %s", got)
	}
	if out := command(t, nil, "lintian", "--allow-root", "--fail-on", "error,warning", deb); strings.TrimSpace(out) != "" {
		t.Logf("lintian: %s", out)
	}
}

func sorted(lines string) string {
	list := strings.Fields(lines)
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// TestVersions: package managers have to know which of two versions is the later one.
func TestVersions(t *testing.T) {
	t.Parallel()
	testkit.Programs(t, "dpkg")
	text, err := os.ReadFile("dist.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, function, ok := strings.Cut(string(text), "package_version() {")
	function, _, ok2 := strings.Cut(function, "\n}")
	if !ok || !ok2 {
		t.Fatal("dist.sh has no package_version")
	}
	packaged := func(version string) string {
		t.Helper()
		return strings.TrimSpace(command(t, nil, "bash", "-c", "package_version() {"+function+"\n}; package_version "+version))
	}
	inOrder := []string{"abcdef0", "v1.2.3-rc1", "v1.2.3", "v1.2.3-4-gabcdef0", "v1.2.3-12-gabcdef0-dirty", "v1.2.4", "v1.10.0"}
	for i, v := range inOrder[1:] {
		command(t, nil, "dpkg", "--compare-versions", packaged(inOrder[i]), "lt", packaged(v))
	}
}
