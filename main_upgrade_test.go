package main_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/bench/load"
	"weir/internal/testkit"
)

// upgrading is a weir that is to be upgraded.
type upgrading struct {
	*child
	t       *testing.T
	program string
	config  string
	pidFile string
	pids    []int
}

// startUpgrading runs a copy of weir, which a test may replace, with an admin API.
func startUpgrading(t *testing.T, config string) *upgrading {
	t.Helper()
	dir := t.TempDir()
	u := &upgrading{t: t, program: filepath.Join(dir, "weir"), pidFile: filepath.Join(dir, "pid")}
	u.install(binary)
	u.config = file(t, config+"[admin]\naddress = 'unix:"+filepath.Join(dir, "admin")+"'\n[access_log]\noutput = 'off'\n")
	u.run(exec.CommandContext(t.Context(), u.program, "run", "--config", u.config, "--pid-file", u.pidFile))
	return u
}

// run starts weir as the first of a group of processes, which the test's end ends.
func (u *upgrading) run(cmd *exec.Cmd) {
	u.t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	u.child = startCommand(u.t, cmd)
	u.t.Cleanup(func() {
		if u.cmd.ProcessState != nil {
			return // all have ended
		}
		syscall.Kill(-u.cmd.Process.Pid, syscall.SIGKILL)
		rest, _ := io.ReadAll(u.stderr)
		if u.t.Failed() {
			u.t.Logf("the log of all processes:\n%s%s", u.seen, rest)
		}
	})
	u.pids = []int{u.pid()}
}

// install puts a program in the place of weir.
func (u *upgrading) install(program string) {
	u.t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		u.t.Fatal(err)
	}
	u.installText(data)
}

func (u *upgrading) installText(data []byte) {
	u.t.Helper()
	// Not over the file that runs. A program that another test starts meanwhile would have the file open for writing
	// for a moment, in which the file cannot be executed ("text file busy").
	syscall.ForkLock.RLock()
	err := os.WriteFile(u.program+".new", data, 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		u.t.Fatal(err)
	}
	if err := os.Rename(u.program+".new", u.program); err != nil {
		u.t.Fatal(err)
	}
}

// keepLog reads the log from now on, so that processes that write more than a pipe holds do not wait for the
// test. Who reads u.stderr then gets the log at the end of all processes.
func (u *upgrading) keepLog() {
	log := &endedLog{ended: make(chan struct{})}
	from := u.stderr
	go func() {
		defer close(log.ended)
		io.Copy(&log.text, from)
	}()
	u.stderr = bufio.NewReader(log)
}

// endedLog can be read once ended is closed.
type endedLog struct {
	ended chan struct{}
	text  bytes.Buffer
}

func (l *endedLog) Read(b []byte) (int, error) {
	<-l.ended
	return l.text.Read(b)
}

// pid returns the process id in the pid file.
func (u *upgrading) pid() int {
	u.t.Helper()
	var pid int
	testkit.Eventually(u.t, "the pid file has a process id", func() bool {
		text, err := os.ReadFile(u.pidFile)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil && pid > 1
	})
	return pid
}

// upgrade upgrades and checks that another process serves then.
func (u *upgrading) upgrade() {
	u.t.Helper()
	stdout, stderr, code := weir(u.t, "upgrade", "--pid-file", u.pidFile)
	pid := u.pid()
	if want := fmt.Sprintf("upgraded: process %d serves", pid); code != 0 || stderr != "" || !strings.HasPrefix(stdout, want) {
		u.t.Fatalf("exit code %d, %s%s; want %s", code, stdout, stderr, want)
	}
	if slices.Contains(u.pids, pid) {
		u.t.Fatalf("process %d still serves", pid)
	}
	u.pids = append(u.pids, pid)
}

// says checks what a command says of the running weir.
func (u *upgrading) says(want string, args ...string) {
	u.t.Helper()
	stdout, stderr, code := weir(u.t, append(args, "--config", u.config)...)
	if code != 0 || !regexp.MustCompile("(?m)"+want).MatchString(stdout) {
		u.t.Errorf("weir %q: exit code %d, %s%s; want %s", args, code, stdout, stderr, want)
	}
}

// stop ends the last process and waits until all have ended.
func (u *upgrading) stop() {
	u.t.Helper()
	if err := syscall.Kill(u.pids[len(u.pids)-1], syscall.SIGTERM); err != nil {
		u.t.Error(err)
	}
	u.ends(0)
}

// webSocket is a connection on which the origin sends back each line.
type webSocket struct {
	net.Conn
	r *bufio.Reader
}

func openWebSocket(t *testing.T, address string) *webSocket {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := &webSocket{c, bufio.NewReader(c)}
	fmt.Fprint(c, "GET /socket HTTP/1.1\r\nHost: weir.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r, err := http.ReadResponse(w.r, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", r, err)
	}
	return w
}

func (w *webSocket) echo(line string) error {
	if _, err := io.WriteString(w, line+"\n"); err != nil {
		return err
	}
	got, err := w.r.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("got %q, want %q", got, line)
	}
	return err
}

// upgradeOrigin answers everything with 4 bytes, what begins with /cached for an hour, and
// WebSockets with what they send.
func upgradeOrigin(t *testing.T, asked *atomic.Int64) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, b, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(c, b)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/cached") {
			asked.Add(1)
			w.Header().Set("Cache-Control", "max-age=3600")
		}
		io.WriteString(w, "body")
	}))
	t.Cleanup(s.Close)
	return s
}

// loads makes load at rate on each address until stop is closed, in stretches of a second, and
// checks that each request was answered. It returns a line for each stretch of the first.
func loads(t *testing.T, stop <-chan struct{}, rate int, addresses map[string]*tls.Config) (wait func() []string) {
	var running []chan []string
	for address, secure := range addresses {
		g, err := load.New(load.Options{
			Address: address, TLS: secure, Connections: 32, Requests: [][]byte{[]byte("GET / HTTP/1.1\r\nHost: weir.test\r\n\r\n")}, Body: 4,
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan []string)
		go func() {
			defer g.Close()
			var lines []string
			for open := true; open; {
				r, err := g.Run(load.Phase{Rate: float64(rate), Duration: time.Second, Stop: stop})
				if err != nil || r.Failed() > 0 {
					t.Errorf("%s: %v, %d of %d requests failed: %v", address, err, r.Failed(), r.Requests, r.Errors)
				}
				ms := func(q float64) float64 { return r.Quantile(q).Seconds() * 1000 }
				lines = append(lines, fmt.Sprintf("%5d requests, p50 %5.2f ms, p99 %6.2f ms, longest %6.2f ms, %d reconnects",
					r.Requests, ms(50), ms(99), ms(100), r.Reconnects))
				select {
				case <-stop:
					open = false
				default:
				}
			}
			done <- lines
		}()
		running = append(running, done)
	}
	return func() (lines []string) {
		for _, done := range running {
			lines = append(lines, <-done...)
		}
		return lines
	}
}

// TestUpgrade: weir is upgraded while clients ask by HTTP/1.1, over TLS, and by WebSockets. No
// request fails, tunnels go on, and what is known of targets and in the cache's folder lasts.
// WEIR_SOAK_UPGRADES, WEIR_SOAK_RATE and WEIR_SOAK_SOCKETS make it larger.
func TestUpgrade(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	upgrades, rate, count := testkit.Soak(t, "WEIR_SOAK_UPGRADES", 3), testkit.Soak(t, "WEIR_SOAK_RATE", 300), testkit.Soak(t, "WEIR_SOAK_SOCKETS", 10)
	var asked atomic.Int64
	origin, other := upgradeOrigin(t, &asked), upgradeOrigin(t, &asked)
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.2")
	socket := filepath.Join(t.TempDir(), "web")
	u := startUpgrading(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[listeners]]
name = "secure"
address = "127.0.0.2:0"
certificates = [{ cert = %q, key = %q }]
[[listeners]]
address = "unix:%s"
[[routes]]
upstream = "o"
cache = true
[upstreams.o]
targets = [%q, %q]
[cache.persist]
folder = %q
[metrics]
address = "127.0.0.1:0"
[lifecycle]
drain = "10m"
`, pair.Cert, pair.Key, socket, origin.URL, other.URL, t.TempDir()))
	secure := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(u.logged("listener=secure"))[1]
	address := strings.TrimPrefix(u.url, "http://")
	u.says("is draining", "drain", "o", other.URL)
	u.says("has weight 7", "weight", "o", origin.URL, "7")
	u.stored("/cached/stays", "/cached/purged")
	u.says("^fresh|^hit", "cache", "why", u.url+"/cached/stays")
	if _, stderr, code := weir(t, "purge", "--config", u.config, "--url", u.url+"/cached/purged"); code != 0 {
		t.Errorf("purge: exit code %d, %s", code, stderr)
	}

	var sockets []*webSocket
	for range count {
		sockets = append(sockets, openWebSocket(t, address))
	}
	stop := make(chan struct{})
	loaded := loads(t, stop, rate, map[string]*tls.Config{address: nil, secure: {RootCAs: authority.Pool, ServerName: "127.0.0.2"}})
	asks := askH2(t, stop, "https://"+secure+"/", authority)
	wait := sync.OnceValue(func() []string {
		close(stop)
		<-asks
		return loaded()
	})
	defer wait()
	for i := range upgrades {
		if upgrades > 3 { // a measurement: each upgrade in a stretch of its own
			time.Sleep(time.Second)
		}
		u.upgrade()
		sockets = append(sockets, openWebSocket(t, address))
		for _, w := range sockets {
			if err := w.echo("hello " + strconv.Itoa(i)); err != nil {
				t.Fatalf("a WebSocket after upgrade %d: %v", i, err)
			}
		}
	}
	memory := residentPeaks(u.pids)
	lines := wait()
	if upgrades > 3 {
		t.Logf("%d upgrades, %d WebSockets, peak of resident memory %s\n%s", upgrades, len(sockets), memory, strings.Join(lines, "\n"))
	}

	u.says(`^o +\S+ +draining .* by the operator$`, "upstreams")
	u.says(`^o +\S+ +healthy +7 \(configured 1\) `, "upstreams")
	testkit.Eventually(t, "the folder is read", func() bool {
		stdout, _, _ := weir(t, "cache", "why", "--config", u.config, u.url+"/cached/stays")
		return strings.Contains(stdout, "also in: disk")
	})
	before := asked.Load()
	if r, _ := u.get("/cached/stays"); !strings.Contains(r.Header.Get("Cache-Status"), "hit") || asked.Load() != before {
		t.Errorf("what was stored is gone: %v", r.Header)
	}
	if u.get("/cached/purged"); asked.Load() != before+1 {
		t.Error("what was purged came back")
	}
	if r, err := unixClient(socket).Get("http://weir.test/"); err != nil {
		t.Error(err)
	} else {
		r.Body.Close()
	}
	for _, w := range sockets {
		w.Close()
	}
	u.stop()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket's file is left: %v", err)
	}
}

// TestUpgradeFails: whatever is wrong with the new program, the old process goes on and says why,
// and the next upgrade works.
func TestUpgradeFails(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "web")
	u := startUpgrading(t, small+"[[listeners]]\naddress = 'unix:"+socket+"'\n[lifecycle]\nupgrade = '4s'\n")
	first := u.pid()
	good, err := os.ReadFile(u.config)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(want string) {
		t.Helper()
		stdout, stderr, code := weir(t, "upgrade", "--pid-file", u.pidFile)
		if code != 1 || stdout != "" || !strings.Contains(stderr, fmt.Sprintf("the upgrade failed, process %d goes on: ", first)) || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, %s%s; want 1, %s", code, stdout, stderr, want)
		}
		if _, body := u.get("/hello"); body != "first" || u.pid() != first {
			t.Errorf("process %d answers %q", u.pid(), body)
		}
		if _, err := os.Stat(socket); err != nil {
			t.Error(err)
		}
	}
	// It ends before it is weir.
	u.installText([]byte("#!/bin/sh\nexit 3\n"))
	fails("the new process ended before it was ready: exit status 3")
	// It is no program.
	u.installText([]byte("text"))
	fails("cannot start")
	// It is a part of a program, or nobody may execute it.
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	u.installText(program[:100_000])
	fails("the new process ended before it was ready: signal: segmentation fault")
	u.install(binary)
	if err := os.Chmod(u.program, 0o600); err != nil {
		t.Fatal(err)
	}
	fails("permission denied")
	// It never gets ready, and meanwhile another upgrade is refused.
	u.installText([]byte("#!/bin/sh\nexec sleep 1000\n"))
	u.signal(syscall.SIGUSR2)
	u.logged("msg=upgrading")
	if _, stderr, code := weir(t, "upgrade", "--pid-file", u.pidFile); code != 1 || !strings.Contains(stderr, fmt.Sprintf("process %d is upgraded already", first)) {
		t.Errorf("a second upgrade: exit code %d, %s", code, stderr)
	}
	u.signal(syscall.SIGUSR2)
	u.logged("an upgrade is under way already")
	u.logged("the new process was not ready within 4s")
	// It refuses the file, or cannot listen.
	u.install(binary)
	write(t, u.config, string(good)+"[log]\nlevel = 'loud'\n")
	fails(`log.level: found "loud"`)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	write(t, u.config, string(good)+"[[listeners]]\naddress = '"+taken.Addr().String()+"'\n")
	fails("address already in use")

	write(t, u.config, string(good))
	u.upgrade()
	if _, body := u.get("/hello"); body != "first" {
		t.Errorf("the new process answers %q", body)
	}
	u.stop()
	// There is none to upgrade.
	if _, stderr, code := weir(t, "upgrade", "--pid-file", u.pidFile); code != 1 || !strings.Contains(stderr, "no weir runs") {
		t.Errorf("without a weir: exit code %d, %s", code, stderr)
	}
	if _, stderr, code := weir(t, "upgrade"); code != 2 || !strings.Contains(stderr, "--pid-file FILE") {
		t.Errorf("without a pid file: exit code %d, %s", code, stderr)
	}
}

// TestUpgradeWrapped: a new process that ends has ended, though one that it has started goes on.
func TestUpgradeWrapped(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	u := startUpgrading(t, small+"[lifecycle]\nupgrade = '10s'\n")
	u.installText([]byte("#!/bin/sh\nsleep 20 >/dev/null 2>&1 &\nexit 4\n"))
	if _, stderr, code := weir(t, "upgrade", "--pid-file", u.pidFile); code != 1 || !strings.Contains(stderr, "the new process ended before it was ready: exit status 4") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	u.install(binary)
	u.upgrade()
}

// TestUpgradeListeners: after an upgrade a listener takes the PROXY protocol as before, and TLS sessions go on.
func TestUpgradeListeners(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("127.0.0.2")
	u := startUpgrading(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
proxy_protocol = ["127.0.0.1"]
[[listeners]]
name = "secure"
address = "127.0.0.2:0"
certificates = [{ cert = %q, key = %q }]
[[routes]]
upstream = "demo"
[upstreams.demo]
targets = ["demo:one"]
`, pair.Cert, pair.Key))
	secure := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(u.logged("listener=secure"))[1]
	plain := strings.TrimPrefix(u.url, "http://")
	sessions := tls.NewLRUClientSessionCache(1)
	asks := func(resumed bool) {
		t.Helper()
		c, err := net.Dial("tcp", plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\nGET / HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n")
		if answer, err := io.ReadAll(c); err != nil || !strings.Contains(string(answer), "192.0.2.7") {
			t.Errorf("by the PROXY protocol: %v, %s", err, answer)
		}
		s, err := tls.Dial("tcp", secure, &tls.Config{RootCAs: authority.Pool, ClientSessionCache: sessions})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		fmt.Fprint(s, "GET / HTTP/1.1\r\nHost: weir.test\r\nConnection: close\r\n\r\n")
		if answer, err := io.ReadAll(s); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") || s.ConnectionState().DidResume != resumed {
			t.Errorf("by TLS: %v, resumed %t, want %t; %s", err, s.ConnectionState().DidResume, resumed, answer)
		}
	}
	asks(false)
	for range 2 {
		u.upgrade()
		asks(true)
	}
	u.stop()
}

// TestUpgradeWhileDraining: a weir that stops is neither upgraded nor reloaded, says so at once, and goes on with its drain.
func TestUpgradeWhileDraining(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	var asked atomic.Int64
	origin := upgradeOrigin(t, &asked)
	u := startUpgrading(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
[lifecycle]
drain = "10m"
`, origin.URL))
	w := openWebSocket(t, strings.TrimPrefix(u.url, "http://"))
	u.signal(syscall.SIGTERM)
	u.logged("stopping: running exchanges may end")
	if stdout, stderr, code := weir(t, "upgrade", "--pid-file", u.pidFile); code != 1 || !strings.Contains(stderr, "stops") {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if stdout, stderr, code := weir(t, "reload", "--pid-file", u.pidFile); code != 1 || !strings.Contains(stderr, "stops") {
		t.Errorf("a reload: exit code %d, %s%s", code, stdout, stderr)
	}
	if err := w.echo("still here"); err != nil {
		t.Error(err)
	}
	w.Close()
	u.ends(0)
}

// TestUpgradeService: under a service manager the new process becomes the service's main one
// before it says that it is ready, and sockets that were passed stay.
func TestUpgradeService(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	_, passed := passedSocket(t)
	manager := filepath.Join(t.TempDir(), "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: manager, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	hears := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		told.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := told.Read(buf)
		if got := string(buf[:n]); err != nil || got != want {
			t.Fatalf("the service manager hears %q, %v; want %q", got, err, want)
		}
	}
	path := file(t, strings.Replace(small, "127.0.0.1:0", "systemd:web", 1))
	pidFile := filepath.Join(t.TempDir(), "pid")
	// LISTEN_PID must be that of weir: the shell's, which becomes weir.
	shell := fmt.Sprintf("LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec %s run --config %s --pid-file %s", binary, path, pidFile)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", shell)
	cmd.ExtraFiles = []*os.File{passed}
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+manager)
	u := &upgrading{t: t, pidFile: pidFile}
	u.run(cmd)
	hears("READY=1\nSTATUS=serving\n")
	for range 2 {
		u.upgrade()
		hears(fmt.Sprintf("MAINPID=%d\n", u.pid()))
		hears("READY=1\nSTATUS=serving\n")
		if _, body := u.get("/hello"); body != "first" {
			t.Errorf("answer %q", body)
		}
	}
	if err := syscall.Kill(u.pids[2], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	hears("STOPPING=1\nSTATUS=draining\n")
	u.ends(0)
}

// askH2 asks by HTTP/2, one request after the other, until stop is closed.
func askH2(t *testing.T, stop <-chan struct{}, url string, authority *testkit.Authority) (done chan struct{}) {
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: authority.Pool}}}
	done = make(chan struct{})
	go func() {
		defer close(done)
		defer client.CloseIdleConnections()
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := client.Get(url)
			if err != nil {
				t.Errorf("by HTTP/2: %v", err)
				return
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != "body" || r.ProtoMajor != 2 {
				t.Errorf("by HTTP/%d: %q, %v", r.ProtoMajor, body, err)
			}
			r.Body.Close()
		}
	}()
	return done
}

// residentPeaks returns the peak of resident memory of each process that still runs.
func residentPeaks(pids []int) string {
	var peaks []string
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(text); m != nil {
			kib, _ := strconv.Atoi(string(m[1]))
			peaks = append(peaks, fmt.Sprintf("%d MiB", kib>>10))
		}
	}
	return strings.Join(peaks, ", ")
}

// stopProcess stops the process of this id, and returns when none of its threads runs any more.
func stopProcess(t *testing.T, pid int) {
	t.Helper()
	testkit.Must(t, syscall.Kill(pid, syscall.SIGSTOP))
	testkit.Eventually(t, "all threads are stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		testkit.Must(t, err)
		for _, thread := range threads {
			text, err := os.ReadFile(thread)
			// The state follows the name, which is in brackets (proc(5)).
			if _, state, _ := bytes.Cut(text, []byte(") ")); err != nil || !bytes.HasPrefix(state, []byte("T")) {
				return false
			}
		}
		return true
	})
}

// TestUpgradeStopped: a process that is stopped while it is replaced does not keep the new one from serving, nor from ending;
// when it goes on it leaves, and its end is no loss.
func TestUpgradeStopped(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	probes, answers := make(chan struct{}, 10), make(chan struct{})
	answer := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "from the origin") }
	origin := httptest.NewServer(http.HandlerFunc(answer))
	defer origin.Close()
	probed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/probe" {
			probes <- struct{}{}
			<-answers
		}
		answer(w, r)
	}))
	defer probed.Close()
	u := startUpgrading(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "o"
[upstreams.o]
targets = [%q]
[upstreams.o.health]
probe = "http"
path = "/probe"
interval = "1h"
timeout = "1m"
wait = "1m"
[lifecycle]
upgrade = "15s"
`, origin.URL))
	first := u.pid()
	// The new process waits for what the probe of a target says that the old one does not have.
	text, err := os.ReadFile(u.config)
	testkit.Must(t, err)
	write(t, u.config, strings.Replace(string(text), origin.URL+`"`, origin.URL+`", "`+probed.URL+`"`, 1))
	// next stops the old process once the new one has got all that it needs, and before it has joined, and returns the new one's id.
	next := func() int {
		t.Helper()
		u.signal(syscall.SIGUSR2)
		_, id, _ := strings.Cut(strings.TrimSpace(u.logged("msg=upgrading")), "process=")
		pid, err := strconv.Atoi(id)
		testkit.Must(t, err)
		<-probes
		stopProcess(t, first)
		answers <- struct{}{}
		u.logged("the process before this one does not answer")
		u.logged("this process serves, but the one before it does not leave")
		if _, body := u.get("/"); body != "from the origin" {
			t.Errorf("the new process answers %q", body)
		}
		return pid
	}
	pid := next()
	testkit.Must(t, syscall.Kill(pid, syscall.SIGTERM))
	u.logged("msg=stopped")
	testkit.Must(t, syscall.Kill(first, syscall.SIGCONT))
	u.logged("the upgrade failed, this process goes on")
	if _, body := u.get("/"); body != "from the origin" || u.pid() != first {
		t.Errorf("process %d answers %q", u.pid(), body)
	}

	pid = next()
	testkit.Must(t, syscall.Kill(first, syscall.SIGCONT))
	u.logged("the new process serves, this one ends when its clients have left")
	testkit.Eventually(t, "the new process has the pid file", func() bool { return u.pid() == pid })
	if _, body := u.get("/"); body != "from the origin" {
		t.Errorf("the new process answers %q", body)
	}
	u.pids = append(u.pids, pid)
	u.stop()
}
