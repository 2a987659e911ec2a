package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstall(t *testing.T) {
	root := t.TempDir()
	// The build goes to a folder of its own: the bin/ of this folder stays.
	out := "OUT=" + t.TempDir()
	run := func(arguments ...string) string {
		t.Helper()
		cmd := exec.Command("make", append(arguments, "DESTDIR="+root, "PREFIX=/opt/weir", out)...)
		text, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("make %q: %v\n%s", arguments, err, text)
		}
		return string(text)
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	reference, err := os.ReadFile("config.toml")
	if err != nil {
		t.Fatal(err)
	}

	run("install")
	if got := read("etc/weir/config.toml"); got != string(reference) {
		t.Errorf("the installed configuration is not the reference: %q", got)
	}
	info, err := os.Stat(filepath.Join(root, "opt/weir/bin/weir"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program: %v, %v", info, err)
	}
	// The unit's ConfigurationDirectoryMode; systemd warns at each start where another one is found.
	if info, err := os.Stat(filepath.Join(root, "etc/weir")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the folder of the configuration: %v, %v", info, err)
	}
	unit := read("opt/weir/lib/systemd/system/weir.service")
	for _, want := range []string{"ExecStart=/opt/weir/bin/weir run --config /etc/weir/config.toml --pid-file /run/weir/weir.pid\n", "Type=notify\n", "ExecReload=/opt/weir/bin/weir reload --pid-file /run/weir/weir.pid\n", "AmbientCapabilities=CAP_NET_BIND_SERVICE\n"} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	if strings.Contains(unit, "/usr/local") {
		t.Error("the unit speaks of /usr/local")
	}
	read("opt/weir/lib/sysusers.d/weir.conf")
	for name, want := range map[string]string{
		"man/man1/weir.1": ".SS weir run", "bash-completion/completions/weir": "complete -o", "zsh/site-functions/_weir": "#compdef weir",
		"fish/vendor_completions.d/weir.fish": "complete -c weir",
	} {
		if got := read("opt/weir/share/" + name); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q", name, want)
		}
	}

	// What the administrator wrote survives a second install and an uninstall.
	const own = "# mine\n"
	if err := os.WriteFile(filepath.Join(root, "etc/weir/config.toml"), []byte(own), 0o640); err != nil {
		t.Fatal(err)
	}
	// -o: what was built for the first one is good enough.
	if got := run("install", "-o", "build", "-o", "man"); !strings.Contains(got, "kept: "+root+"/etc/weir/config.toml") {
		t.Errorf("install said %q", got)
	}
	if got := read("etc/weir/config.toml"); got != own {
		t.Errorf("after the second install the configuration is %q", got)
	}
	run("uninstall")
	if got := read("etc/weir/config.toml"); got != own {
		t.Errorf("after uninstall the configuration is %q", got)
	}
	err = filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(name, "/etc/weir/config.toml") {
			t.Errorf("uninstall left %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestHelpNamesEveryTarget(t *testing.T) {
	text, err := exec.Command("make").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, target := range []string{"help", "build", "run", "test", "check", "bench", "fuzz", "install", "uninstall", "clean"} {
		if !strings.Contains(string(text), "\n  "+target+" ") {
			t.Errorf("make does not name %q:\n%s", target, text)
		}
	}
}
