package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"weir/internal/testkit"
)

// TestOperate: what the commands say of a running weir, and change in it.
func TestOperate(t *testing.T) {
	t.Setenv("WEIR_TEST_TOKEN", "s3cret")
	text := small + "[admin]\naddress = 'unix:" + filepath.Join(t.TempDir(), "admin") + "'\n"
	path := file(t, strings.Replace(text, `path = "/hello"`, `path = "/hello"`+"\nheader.X-Token = '${WEIR_TEST_TOKEN}'", 1))
	c := start(t, "run", "--config", path)
	c.get("/")
	testkit.Eventually(t, "the exchange has ended for weir, too", func() bool {
		stdout, _, _ := weir(t, "status", "--config", path)
		return strings.Contains(stdout, " 0 running exchanges")
	})
	says := func(want string, command string, args ...string) {
		t.Helper()
		stdout, stderr, code := weir(t, append([]string{command, "--config", path}, args...)...)
		if code != 0 || stderr != "" || !regexp.MustCompile("(?m)"+want).MatchString(stdout) || strings.Contains(stdout, "s3cret") {
			t.Errorf("weir %s %q: exit code %d, %s%s; want %s", command, args, code, stdout, stderr, want)
		}
	}
	fails := func(code int, want string, args ...string) {
		t.Helper()
		stdout, stderr, got := weir(t, args...)
		if got != code || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("weir %q: exit code %d, %s%s; want %d, %s", args, got, stdout, stderr, code, want)
		}
	}
	says(`^serving, started .* 0 running exchanges\nconfiguration loaded .*; 0 reloads, 0 failed\n\nLISTENER `, "status")
	says(`^demo +2 +2 +0$`, "status")
	says(`^UPSTREAM .*\ndemo +demo:one +healthy +1 +0 +0 +1 +0 `, "upstreams")
	says(`^route-1 +header X-Token=\$\{WEIR_TEST_TOKEN\} /hello +respond 200 +no\nroute-2 +everything +upstream "demo" +no$`, "routes")
	says(`^X-Token = "\$\{WEIR_TEST_TOKEN\}"`, "config")
	says(`^watch = false$`, "config", "--all")
	// Draining and weights.
	says(`^demo:one is draining, with 0 running exchanges$`, "drain", "demo", "demo:one")
	says(`^demo +demo:one +draining .* by the operator$`, "upstreams", "demo")
	says(`^demo:one is healthy`, "undrain", "demo", "demo:one")
	says(`^demo:two has weight 3$`, "weight", "demo", "demo:two", "3")
	says(`^demo +demo:two +healthy +3 \(configured 1\) `, "upstreams", "demo")
	says(`^demo:two has weight 1$`, "weight", "demo", "demo:two", "configured")
	says(`^ROUTE +REQUESTS/S .*\n(.*\n)*\nUPSTREAM .*\n(.*\n)*demo +demo:one +healthy +0 +0 +0 `, "top", "--every", "100ms", "--count", "1")
	// JSON for scripts.
	for command, args := range map[string][]string{
		"status": nil, "upstreams": nil, "routes": nil, "config": nil, "drain": {"demo", "demo:one"}, "undrain": {"demo", "demo:one"}, "weight": {"demo", "demo:one", "1"},
	} {
		stdout, stderr, code := weir(t, append([]string{command, "--json", "--config", path}, args...)...)
		if code != 0 || !json.Valid([]byte(stdout)) {
			t.Errorf("weir %s --json: exit code %d, %s%s", command, code, stdout, stderr)
		}
	}
	// A file that is wrong meanwhile does not stop operators, who then see what is in force.
	bad, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(bad)+"[log]\nlevel = 'loud'\n")
	c.signal(syscall.SIGHUP)
	c.logged("reload failed")
	says(`^THE LAST RELOAD FAILED`, "status")

	fails(1, `found upstream "nope": there is "demo"`, "upstreams", "--config", path, "nope")
	fails(1, `found target "demo:on"`, "drain", "--config", path, "demo", "demo:on")
	fails(2, "weir drain takes UPSTREAM TARGET, found 1 argument", "drain", "demo")
	fails(2, `weight: found "0": want 1 to 1000000 or "configured"`, "weight", "demo", "demo:one", "0")
	fails(2, "--every: found 1ms: want at least 100ms", "top", "--every", "1ms")
	fails(2, "weir status takes flags only", "status", "demo")
	fails(2, "a file is named by --config FILE", "check", "weir.toml")
	fails(1, "has no admin.address", "status", "--config", file(t, small))
	fails(1, "cannot reach the admin API", "routes", "--admin", "127.0.0.1:1")
}

// TestExplain: what the command says of requests that it does not send.
func TestExplain(t *testing.T) {
	path := file(t, small)
	says := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, code := weir(t, append([]string{"explain", "--config", path}, args...)...)
		if code != 0 || stderr != "" || !regexp.MustCompile("(?m)"+want).MatchString(stdout) {
			t.Errorf("weir explain %q: exit code %d, %s%s; want %s", args, code, stdout, stderr, want)
		}
	}
	says(`^route +route-1 +takes it$`, "http://127.0.0.1/hello")
	says(`^route +route-1 +does not: path is /hello$`, "http://127.0.0.1/")
	says(`^target +demo:one +weight 1, is picked$`, "http://127.0.0.1/")
	says(`^\+ X-Forwarded-For: 10\.1\.2\.3$`, "--from", "10.1.2.3", "http://127.0.0.1/")
	says(`^- X-Forwarded-For: 6, 7$`, "-H", "X-Forwarded-For: 6, 7", "PUT", "http://127.0.0.1/")
	says(`"cause": "ok"`, "--json", "http://127.0.0.1/")
	for want, args := range map[string][]string{
		"takes [METHOD] URL, found 0 arguments": {}, `want an IP address`: {"--from", "x", "http://a/"}, `found URL "a"`: {"a"},
	} {
		if stdout, stderr, code := weir(t, append([]string{"explain", "--config", path}, args...)...); code == 0 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("weir explain %q: exit code %d, %s%s; want %s", args, code, stdout, stderr, want)
		}
	}
}

// visible returns the commands that weir --help lists.
func visible(t *testing.T) []string {
	t.Helper()
	stdout, _, _ := weir(t, "--help")
	_, rest, _ := strings.Cut(stdout, "COMMANDS:\n")
	var names []string
	for line := range strings.Lines(rest) {
		if strings.TrimSpace(line) == "" {
			break
		}
		names = append(names, strings.TrimSuffix(strings.Fields(line)[0], ","))
	}
	if len(names) < 10 {
		t.Fatalf("only %q were seen", names)
	}
	return names
}

// TestCommandsAreDocumented: each command is in the table of docs/operations.md and in the
// manual page, and so is each signal.
func TestCommandsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	manual, stderr, code := weir(t, "man")
	if code != 0 {
		t.Fatalf("weir man: exit code %d, %s", code, stderr)
	}
	for _, name := range visible(t) {
		if !strings.Contains(string(page), "\n| `weir "+name) {
			t.Errorf("docs/operations.md has no row for weir %s", name)
		}
		if name != "help" && !strings.Contains(manual, "\n.SS weir "+name+" ") {
			t.Errorf("the manual page has no weir %s", name)
		}
	}
	_, signals, _ := strings.Cut(string(page), "\n## Signals\n")
	signals, _, _ = strings.Cut(signals, "\n## ")
	for _, name := range regexp.MustCompile(`SIG[A-Z0-9]+`).FindAllString(signals, -1) {
		if !strings.Contains(manual, name) {
			t.Errorf("the manual page does not have the signal %s", name)
		}
	}
}

// TestManual: the formatter of manual pages has no complaint.
func TestManual(t *testing.T) {
	testkit.Program(t, "groff")
	manual, _, _ := weir(t, "man")
	cmd := exec.CommandContext(t.Context(), "groff", "-man", "-Tascii", "-ww")
	cmd.Stdin = strings.NewReader(manual)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 || !strings.Contains(string(out), "config-schema") {
		t.Errorf("%v, %s", err, complaints.String())
	}
}

// TestCompletion: bash completes commands and flags.
func TestCompletion(t *testing.T) {
	script, _, code := weir(t, "completion", "bash")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	complete := func(line, want string) {
		t.Helper()
		// What the package bash-completion has, as far as the script needs it.
		shell := `_get_comp_words_by_ref() { :; }
` + script + `
COMP_WORDS=(` + line + `); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); __weir_bash_autocomplete; echo "${COMPREPLY[@]}"`
		cmd := exec.CommandContext(t.Context(), "bash", "-c", shell)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %v, %q; want %q", line, err, got, want)
		}
	}
	complete("weir und", "undrain")
	complete("weir drain --js", "--json")
	if _, stderr, code := weir(t, "completion", "csh"); code != 2 || !strings.Contains(stderr, "want bash|zsh|fish|pwsh") {
		t.Errorf("an unknown shell: exit code %d, %s", code, stderr)
	}
}

// What an operator asks of an upstream that fails says what keeps requests from it, and what a request would meet.
func TestOperateFailing(t *testing.T) {
	path := file(t, `
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "demo"
[upstreams.demo]
targets = ["demo:one"]
breaker = { failures = 0.5, requests = 3, open = "1h" }
[admin]
address = 'unix:`+filepath.Join(t.TempDir(), "admin")+`'
`)
	c := start(t, "run", "--config", path)
	for range 3 {
		c.get("/fail?status=503")
	}
	says := func(want, command string, args ...string) {
		t.Helper()
		testkit.Eventually(t, "weir "+command+" says "+want, func() bool {
			stdout, _, _ := weir(t, append([]string{command, "--config", path}, args...)...)
			return regexp.MustCompile("(?m)" + want).MatchString(stdout)
		})
	}
	const why = `circuit breaker open for another \S+: 3 of 3 exchanges within 10s failed$`
	says(`^demo +demo:one +healthy .* the last 3 exchanges failed *$`, "upstreams")
	says(`^demo: `+why, "upstreams")
	says(`^the client gets 503$`, "explain", "--running", "http://a.test/")
	says(`^cause: breaker_open, `+why, "explain", "--running", "http://a.test/")
}
