package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"weir/proxy"
)

// binary is the weir that the tests run as a child process.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir")
	if err == nil {
		binary = filepath.Join(dir, "weir")
		var out []byte
		if out, err = exec.Command("make", "build", "OUT="+dir).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot build weir:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// weir runs a command to its end.
func weir(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	write(t, path, text)
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// child is a weir that serves.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Reader // the access log
	stderr *bufio.Reader
	seen   string // what was read of the log
	url    string // of the first listener
}

var metricsPage = regexp.MustCompile(`msg="metrics and health" address=(\S+)`)

var listening = regexp.MustCompile(`msg=listening .* address=(\S+)`)

// start runs weir and returns when it serves.
func start(t *testing.T, args ...string) *child {
	t.Helper()
	return startCommand(t, exec.CommandContext(t.Context(), binary, args...))
}

// startCommand does the same with a command that becomes weir.
func startCommand(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{t: t, cmd: cmd}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdout, c.stderr = bufio.NewReader(stdout), bufio.NewReader(stderr)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			c.cmd.Process.Kill()
			c.cmd.Wait()
		}
	})
	c.url = "http://" + listening.FindStringSubmatch(c.logged("msg=listening"))[1]
	return c
}

// logged reads weir's own log up to a line with text and returns that line.
func (c *child) logged(text string) string {
	c.t.Helper()
	before := len(c.seen)
	for {
		line, err := c.stderr.ReadString('\n')
		c.seen += line
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			c.t.Fatalf("no %q in the log:\n%s", text, c.seen[before:])
		}
	}
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// ends waits for the end of the process.
func (c *child) ends(code int) {
	c.t.Helper()
	rest, _ := io.ReadAll(c.stderr)
	io.Copy(io.Discard, c.stdout)
	c.cmd.Wait()
	if got := c.cmd.ProcessState.ExitCode(); got != code {
		c.t.Errorf("exit code %d, want %d; the log's end:\n%s", got, code, rest)
	}
}

func (c *child) get(path string) (*http.Response, string) {
	c.t.Helper()
	// A client of its own: an idle connection must not be in the way of a drain.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(c.url + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response, string(body)
}

// stored gets pages that the cache may store, and returns when it has stored them: weir reads the second request
// for the last page, on the same connection, after that.
func (c *child) stored(pages ...string) {
	c.t.Helper()
	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, page := range append(pages, pages[len(pages)-1]) {
		response, err := client.Get(c.url + page)
		if err != nil {
			c.t.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}

const small = `
[[listeners]]
address = "127.0.0.1:0"

[[routes]]
path = "/hello"
respond = { body = "first" }

[[routes]]
upstream = "demo"

[upstreams.demo]
targets = ["demo:one", "demo:two"]
`

func TestCheck(t *testing.T) {
	check := func(text string, code int, contains ...string) {
		t.Helper()
		stdout, stderr, got := weir(t, "check", "--config", file(t, text))
		if got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
		for _, want := range contains {
			if !strings.Contains(stdout+stderr, want) {
				t.Errorf("no %q in %s%s", want, stdout, stderr)
			}
		}
		if (stdout == "") != (code != 0) || (stderr == "") != (code == 0) {
			t.Errorf("code %d with stdout %q, stderr %q", code, stdout, stderr)
		}
	}
	// Good, with a summary.
	check(small, 0, "config.toml is fine: 1 listener, 2 routes, 1 upstream with 2 targets\n")
	// Everything that is wrong, with its lines.
	check(strings.Replace(small, "path =", "pathh =", 1)+"[log]\nlevel = \"loud\"\n", 1,
		"config.toml has 2 problems:", "config.toml:6: ", `"path"?`, "config.toml:15: log.level", `"debug"`)
	// Mistakes that only the packages which use the configuration find.
	check(small+"[access_log]\nformat = \"{stats}\"\n", 1, "config.toml:15: access_log.format: found {stats}", `"status"?`)
	// What only a balancing algorithm knows.
	check(small+"balance = \"p2c\"\nbalance_options = { choises = 3 }\n", 1,
		`config.toml:15: upstreams.demo.balance_options.choises: found an unknown key: want one of choices; did you mean "choices"?`)
	// Both at once, and no route is said to be in vain because of a misspelt one.
	check(strings.Replace(small, "path =", "pathh =", 1)+"balance = \"round-robin\"\n", 1,
		"config.toml has 2 problems:", `"path"?`, `config.toml:14: upstreams.demo.balance: found "round-robin"`, `"round_robin"?`)
	// What only the far cache's client knows.
	check(small+"[cache.far]\nurl = \"redis://:secret@cache:port\"\n", 1, `config.toml:15: cache.far.url: found port "port" of host "cache"`)
	// Sockets and files of weir's own for which there is no place.
	check(small+"[metrics]\naddress = \"unix:/no/such/folder/socket\"\n", 1, `config.toml:15: metrics.address: cannot make a socket in folder "/no/such/folder": no such file`)
	check(small+"[[listeners]]\naddress = \"unix:"+file(t, "")+"\"\n", 1, "config.toml:15: listeners[1].address: cannot make a socket", "because there is a file that is none")
	check(small+"[discovery]\npersist = \""+file(t, "")+"/found\"\n", 1, "config.toml:15: discovery.persist: cannot use folder")
	// No TOML at all.
	check("[[", 1, "config.toml:1")

	_, stderr, code := weir(t, "check", "--config", filepath.Join(t.TempDir(), "none"))
	if code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("a missing file: exit code %d, %s", code, stderr)
	}
	// The reference file, which is what stands here by default.
	if stdout, stderr, code := weir(t, "check"); code != 0 {
		t.Errorf("config.toml: exit code %d, %s%s", code, stdout, stderr)
	}
}

func TestUsage(t *testing.T) {
	check := func(want string, args ...string) {
		t.Helper()
		stdout, stderr, code := weir(t, args...)
		if code != 2 || !strings.Contains(stderr, want) || stdout != "" {
			t.Errorf("weir %q: exit code %d, want 2 and %q; got %s%s", args, code, want, stdout, stderr)
		}
	}
	check(`did you mean "check"?`, "chek")
	check("-foo", "run", "--foo")
	check(`found "config.toml"`, "check", "config.toml")
	check("need --to", "run", "--listen", ":0")
	check("--to needs --listen", "run", "--to", "http://localhost:1")
	check("leave out --config", "run", "--config", "x", "--listen", ":0", "--to", "http://localhost:1")
	check(`found "80"`, "run", "--listen", "80", "--to", "http://localhost:1")
	check(`found "localhost"`, "run", "--listen", ":0", "--to", "localhost")
	check("--pid-file", "reload")
	check("found 1", "reload", "--pid", "1")
}

func TestConfigSchema(t *testing.T) {
	stdout, _, code := weir(t, "config-schema")
	var schema struct{ Properties map[string]any }
	if err := json.Unmarshal([]byte(stdout), &schema); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if schema.Properties["listeners"] == nil {
		t.Error("the schema does not know listeners")
	}
}

func TestVersion(t *testing.T) {
	if stdout, _, code := weir(t, "version"); code != 0 || !regexp.MustCompile(`^weir \S+ go1\S+ \w+/\w+( revision [0-9a-f]+)?( modified)?\n$`).MatchString(stdout) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

func TestHelp(t *testing.T) {
	check := func(want string, args ...string) {
		t.Helper()
		if stdout, stderr, code := weir(t, args...); code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("weir %q: exit code %d, want 0 and %q; got %s%s", args, code, want, stdout, stderr)
		}
	}
	check("reverse proxy, load balancer", "help")
	check("--listen ADDRESS", "help", "run")
	check("--listen ADDRESS", "run", "--help")
	check("--listen ADDRESS", "run", "--to", "http://a", "--help")
	check("weir drain [options] UPSTREAM TARGET", "drain", "demo", "demo:one", "--help")
	check("weir cache why", "cache", "why", "http://a/", "--help")
	check("weir ", "--version")
	check(" go1.", "-v")
	if _, stderr, code := weir(t, "help", "drian"); code != 2 || !strings.Contains(stderr, `found command "drian"`) || !strings.Contains(stderr, `did you mean "drain"?`) {
		t.Errorf("help of an unknown command: exit code %d, %s", code, stderr)
	}
}

// TestProgram: what make build leaves out is not missed. The size shows that the
// linker drops unused methods: a dependency that calls methods by a name known
// only at run time makes it keep all, which is 15 MB.
func TestProgram(t *testing.T) {
	info, err := os.Stat(binary)
	if err != nil || info.Size() > 31<<20 {
		t.Errorf("%v, %v: want at most 31 MiB", info, err)
	}
	// Stack traces still name functions, files and lines.
	c := start(t, "run", "--config", file(t, small))
	c.signal(syscall.SIGABRT)
	c.logged("weir/internal/cli.run(")
	c.logged("weir/internal/cli/run.go:")
	c.ends(2)
}

// TestOneLine: two targets without a file, and the access log on standard output.
func TestOneLine(t *testing.T) {
	args := []string{"run", "--listen", "127.0.0.1:0"}
	for _, name := range []string{"a", "b"} {
		origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name+r.RequestURI) }))
		defer origin.Close()
		args = append(args, "--to", origin.URL)
	}
	c := start(t, args...)
	_, first := c.get("/x?y=%2F")
	_, second := c.get("/x?y=%2F")
	if first == second || !strings.HasSuffix(first, "/x?y=%2F") || !strings.HasSuffix(second, "/x?y=%2F") {
		t.Errorf("answers %q and %q", first, second)
	}
	line, err := c.stdout.ReadString('\n')
	var entry struct {
		Status int
		Target string `json:"request_target"`
	}
	if err := errors.Join(err, json.Unmarshal([]byte(line), &entry)); err != nil || entry.Status != 200 || entry.Target != "/x?y=%2F" {
		t.Errorf("access log %q, %v", line, err)
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

func TestReload(t *testing.T) {
	path, pid, access := file(t, small), filepath.Join(t.TempDir(), "weir.pid"), filepath.Join(t.TempDir(), "access.log")
	text := small + "[access_log]\noutput = '" + access + "'\nformat = '{request_target}'\n[metrics]\naddress = '127.0.0.1:0'\n"
	write(t, path, text)
	c := start(t, "run", "--config", path, "--pid-file", pid)
	page := metricsPage.FindStringSubmatch(c.logged("metrics and health"))[1]
	hello := func(want string) {
		t.Helper()
		if _, body := c.get("/hello"); body != want {
			t.Errorf("answer %q, want %q", body, want)
		}
	}
	reload := func(code int, want string) {
		t.Helper()
		stdout, stderr, got := weir(t, "reload", "--pid-file", pid)
		if got != code || !strings.Contains(stdout+stderr, want) {
			t.Errorf("exit code %d, want %d and %q: %s%s", got, code, want, stdout, stderr)
		}
	}
	counted := func(success, failed string) {
		t.Helper()
		response, err := http.Get("http://" + page + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		for _, want := range []string{"weir_config_last_reload_successful " + success, `weir_reloads_total{result="failed"} ` + failed} {
			if err != nil || !strings.Contains(string(body), want+"\n") {
				t.Errorf("no %q in the metrics, %v:\n%s", want, err, body)
			}
		}
	}
	hello("first")
	counted("1", "0")
	// A good file; and the access log is opened again.
	write(t, path, strings.Replace(text, "first", "second", 1))
	if err := os.Rename(access, access+".1"); err != nil {
		t.Fatal(err)
	}
	reload(0, "reloaded")
	hello("second")
	// A bad one changes nothing, and the verdict says why.
	write(t, path, "nonsense = 1")
	reload(1, "nonsense: found an unknown key")
	hello("second")
	c.logged("reload failed")
	counted("0", "1")
	// One that the packages which use the configuration refuse.
	write(t, path, strings.Replace(text, "{request_target}", "{no}", 1))
	reload(1, "found {no}")
	hello("second")
	// A second weir with the same pid file.
	if _, stderr, code := weir(t, "run", "--config", path+"x", "--pid-file", pid); code != 1 {
		t.Errorf("a second weir: exit code %d, %s", code, stderr)
	}
	// By process id, whose verdict is in the log.
	write(t, path, text)
	if _, stderr, code := weir(t, "reload", "--pid", fmt.Sprint(c.cmd.Process.Pid)); code != 0 {
		t.Errorf("reload --pid: exit code %d, %s", code, stderr)
	}
	c.logged("msg=reloaded")
	hello("first")
	counted("1", "2")

	c.signal(syscall.SIGTERM)
	c.ends(0)
	// The first line may have waited for the output while it was opened again.
	before, err := os.ReadFile(access + ".1")
	after, err2 := os.ReadFile(access)
	if lines := strings.Repeat("/hello\n", 5); errors.Join(err, err2) != nil || string(before)+string(after) != lines || len(after) < len(lines)-len("/hello\n") {
		t.Errorf("the access logs hold %q and %q, %v, %v", before, after, err, err2)
	}
	// No weir runs any more, though the file is still there.
	reload(1, "no weir runs with pid file")
}

// TestWatch: a file that changes is read without a signal.
func TestWatch(t *testing.T) {
	path := file(t, small+"[lifecycle]\nwatch = true\n")
	c := start(t, "run", "--config", path)
	write(t, path+".new", strings.Replace(small, "first", "second", 1))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	c.logged("msg=reloaded")
	if _, body := c.get("/hello"); body != "second" {
		t.Errorf("answer %q", body)
	}
	c.signal(syscall.SIGINT)
	c.ends(0)
}

// TestWatchIncluded: so are files that it includes, and new ones that fit a pattern.
func TestWatchIncluded(t *testing.T) {
	path := file(t, "include = '*.inc'\n"+small+"[lifecycle]\nwatch = true\n")
	included := func(name, body string) {
		t.Helper()
		to := filepath.Join(filepath.Dir(path), name)
		write(t, to+".new", "[[routes]]\npath = '/"+name+"'\nrespond.body = '"+body+"'\n")
		if err := os.Rename(to+".new", to); err != nil { // at once: half a file would be loaded, too
			t.Fatal(err)
		}
	}
	c := start(t, "run", "--config", path)
	check := func(name, want string) {
		t.Helper()
		c.logged("msg=reloaded")
		if _, body := c.get("/" + name); body != want {
			t.Errorf("/%s: %q, want %q", name, body, want)
		}
	}
	included("a.inc", "first")
	check("a.inc", "first")
	included("a.inc", "second")
	check("a.inc", "second")
	included("b.inc", "third")
	check("b.inc", "third")
	if err := os.Remove(filepath.Join(filepath.Dir(path), "a.inc")); err != nil {
		t.Fatal(err)
	}
	c.logged("msg=reloaded")
	if _, body := c.get("/a.inc"); body == "second" {
		t.Error("the route of a file that is gone is there")
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}

// stream begins an endless answer and returns when its first bytes are there.
func (c *child) stream() *bufio.Reader {
	c.t.Helper()
	response, err := http.Get(c.url + "/events?n=1000&every=1h")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { response.Body.Close() })
	r := bufio.NewReader(response.Body)
	if _, err := r.ReadString('\n'); err != nil {
		c.t.Fatal(err)
	}
	return r
}

func TestSecondSignal(t *testing.T) {
	c := start(t, "run", "--config", file(t, small+"[lifecycle]\ndrain = '1h'\n"))
	body := c.stream()
	c.signal(syscall.SIGTERM)
	c.logged("msg=\"stopping")
	c.signal(syscall.SIGTERM)
	if _, err := io.ReadAll(body); err == nil {
		t.Error("the stream that was cut looks complete")
	}
	c.ends(1)
}

func TestDrainDeadline(t *testing.T) {
	c := start(t, "run", "--config", file(t, small+"[lifecycle]\ndrain = '50ms'\n"))
	body := c.stream()
	c.signal(syscall.SIGTERM)
	if _, err := io.ReadAll(body); err == nil {
		t.Error("the stream that was cut looks complete")
	}
	c.logged("running exchanges were cut")
	c.ends(0)
}

// TestDrain: a running exchange ends, the process with it.
func TestDrain(t *testing.T) { drains(t, syscall.SIGTERM) }

// drains runs weir with an exchange that ends after the signals.
func drains(t *testing.T, signals ...os.Signal) {
	t.Helper()
	release := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "begin\n")
		http.NewResponseController(w).Flush()
		<-release
		io.WriteString(w, "end\n")
	}))
	defer origin.Close()
	c := start(t, "run", "--listen", "127.0.0.1:0", "--to", origin.URL)
	response, err := http.Get(c.url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	c.signal(signals[0])
	c.logged("msg=\"stopping")
	for _, s := range signals[1:] {
		c.signal(s)
	}
	close(release)
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "begin\nend\n" {
		t.Errorf("%q, %v", body, err)
	}
	c.ends(0)
}

// TestServiceManager plays systemd's part (Type=notify-reload).
func TestServiceManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "weir") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := filepath.Join(dir, "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	expect := func(want string) {
		t.Helper()
		buf := make([]byte, 1024)
		n, err := manager.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("told %q, %v; want %q", buf[:n], err, want)
		}
	}
	t.Setenv("NOTIFY_SOCKET", address)
	path := file(t, small)
	c := start(t, "run", "--config", path)
	expect("FDSTORE=1\nFDNAME=weir-") // of the listening socket
	expect("READY=1\n")
	c.signal(syscall.SIGHUP)
	expect("RELOADING=1\nMONOTONIC_USEC=")
	expect("READY=1\nSTATUS=serving\n")
	// After a reload that failed, weir serves as well, and says how.
	write(t, path, "nonsense = 1")
	c.signal(syscall.SIGHUP)
	expect("RELOADING=1\n")
	expect("READY=1\nSTATUS=serving the old")
	c.signal(syscall.SIGTERM)
	expect("STOPPING=1\n")
	c.ends(0)
}

func TestStartErrors(t *testing.T) {
	c := start(t, "run", "--config", file(t, small))
	_, stderr, code := weir(t, "run", "--listen", strings.TrimPrefix(c.url, "http://"), "--to", "http://127.0.0.1:1")
	if code != 1 || !strings.Contains(stderr, "in use") {
		t.Errorf("an address that is taken: exit code %d, %s", code, stderr)
	}
}

// TestCausesAreDocumented fails if a cause is missing from docs/operations.md.
func TestCausesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cause := range proxy.Causes() {
		if !strings.Contains(string(page), "\n| `"+cause+"` | ") {
			t.Errorf("no cause %q", cause)
		}
	}
}
