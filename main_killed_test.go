package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"weir/internal/testkit"
)

// TestPurgeKilled: weir is killed as soon as a purge was answered. What was purged does not
// come back from the disk or from Redis, and the rest does. WEIR_SOAK_PURGES says how often.
func TestPurgeKilled(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	n := testkit.Soak(t, "WEIR_SOAK_PURGES", 5)
	t.Run("disk", func(t *testing.T) {
		t.Parallel()
		purgeKilled(t, n, fmt.Sprintf("[cache.persist]\nfolder = %q\n", t.TempDir()))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		purgeKilled(t, n, fmt.Sprintf("[cache.far]\nurl = %q\ntimeout = \"4s\"\n", "redis://"+redisServer(t)))
	})
}

// redisServer starts one and returns its address.
func redisServer(t *testing.T) string {
	t.Helper()
	testkit.Program(t, "redis-server")
	address := testkit.Reserve(t)
	_, port, _ := net.SplitHostPort(address)
	c := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	testkit.Eventually(t, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}

func purgeKilled(t *testing.T, n int, tier string) {
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Cache-Control", "max-age=3600")
		if strings.HasPrefix(r.URL.Path, "/probe/") {
			w.Header().Set("Cache-Control", "no-store")
		}
		io.WriteString(w, r.URL.Path)
	}))
	defer origin.Close()
	path := file(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "origin"
cache = true
[upstreams.origin]
targets = [%q]
[metrics]
address = "127.0.0.1:0"
[cache]
purge_from = ["127.0.0.1"]
%s`, origin.URL, tier))
	var c *child
	var metrics string
	begin := func() {
		t.Helper()
		c = start(t, "run", "--config", path)
		metrics = "http://" + metricsPage.FindStringSubmatch(c.logged("metrics and health"))[1] + "/metrics"
	}
	begin()
	// do returns the answer, and whether the origin was asked. The port is not part of the
	// Host, for it changes.
	do := func(method, path string) (body string, fetched bool) {
		t.Helper()
		before := asked.Load()
		r, err := http.NewRequest(method, c.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "weir.test"
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text), asked.Load() > before
	}
	probes := 0
	// usable waits until the tier is asked, and says that it does not have a page.
	usable := func() {
		t.Helper()
		testkit.Eventually(t, "the tier is usable", func() bool {
			before := counted(t, metrics, "miss")
			probes++
			do("GET", fmt.Sprint("/probe/", probes))
			return counted(t, metrics, "miss") > before
		})
	}
	usable()
	before := counted(t, metrics, "written")
	for i := range n + 1 {
		do("GET", fmt.Sprint("/", i))
	}
	testkit.Eventually(t, "the pages are written", func() bool { return counted(t, metrics, "written") >= before+n+1 })
	gone := 0
	for i := range n {
		page := fmt.Sprint("/", i)
		if body, _ := do("PURGE", page); !strings.HasPrefix(body, `{"purged":`) || strings.Contains(body, "pending") {
			t.Fatalf("PURGE: %s", body)
		}
		c.cmd.Process.Kill()
		c.cmd.Wait()
		http.DefaultClient.CloseIdleConnections()
		begin()
		usable()
		if _, fetched := do("GET", fmt.Sprint("/", n)); fetched {
			t.Errorf("/%d is not kept over a restart", n)
		}
		if _, fetched := do("GET", page); fetched {
			gone++
		}
	}
	if gone != n {
		t.Errorf("%d of %d stay purged", gone, n)
	}
	t.Logf("%d of %d stay purged", gone, n)
}

// counted is how often something has come of the tier: "miss", "written".
func counted(t *testing.T, metrics, result string) int {
	t.Helper()
	answer, err := http.Get(metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `result="`+result+`"} `)
	value, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	return n
}

// TestPurgePending: a purge that Redis could not be told of is announced after a restart, by a weir
// that was killed and has a folder.
func TestPurgePending(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	redis := redisServer(t)
	way, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { way.Close() })
	var open atomic.Bool // until then connections end
	go func() {
		for {
			c, err := way.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", redis)
			if err != nil || !open.Load() {
				c.Close()
				continue
			}
			go func() { io.Copy(s, c); s.Close() }()
			go func() { io.Copy(c, s); c.Close() }()
		}
	}()
	path := file(t, fmt.Sprintf(`
[[listeners]]
address = "127.0.0.1:0"
[[routes]]
upstream = "nowhere"
cache = true
[upstreams.nowhere]
targets = ["http://127.0.0.1:1"]
[cache]
purge_from = ["127.0.0.1"]
[cache.persist]
folder = %q
[cache.far]
url = "redis://%s"
`, t.TempDir(), way.Addr()))
	c := start(t, "run", "--config", path)
	r, err := http.NewRequest("PURGE", c.url+"/pending", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		t.Fatalf("PURGE: %s, want 202", answer.Status)
	}
	c.cmd.Process.Kill()
	c.cmd.Wait()
	open.Store(true)
	start(t, "run", "--config", path)
	testkit.Eventually(t, "Redis is told", func() bool {
		c, err := net.Dial("tcp", redis)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "XRANGE weir:marks - +\r\nQUIT\r\n")
		told, _ := io.ReadAll(c)
		return strings.Contains(string(told), "/pending")
	})
}
