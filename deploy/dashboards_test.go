package deploy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/cache/disk"
	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// TestRules: promtool takes the rules and the example, and the rules' own tests pass.
func TestRules(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "promtool")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "weir.rules.test.yml"}} {
		c := exec.CommandContext(t.Context(), "promtool", args...)
		c.Dir = "prometheus"
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Each alert has a test in which it fires.
	rules, err := os.ReadFile("prometheus/weir.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("prometheus/weir.rules.test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !strings.Contains(string(tests), "alertname: "+alert[1]+"\n        exp_alerts:") {
			t.Errorf("no test makes %s fire", alert[1])
		}
	}
}

// busy is a weir of which every panel has something to show: errors, retries, hedges, a cache with a
// tier behind it, compression, metrics from bodies, objectives.
const busy = `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[metrics]
address = "127.0.0.1:0"
histograms = %q
[access_log]
output = "off"
[cache.persist]
folder = %q
[[objectives]]
name = "fast"
percent = 99
below = "300ms"
[[routes]]
name = "shop"
path = "/shop/"
upstream = "shop"
[[routes]]
name = "cached"
path = "/cached/"
upstream = "shop"
cache = true
compress = true
[[routes]]
name = "hedged"
path = "/hedged/"
upstream = "hedged"
[[routes]]
name = "model"
path = "/v1/models/{call}"
upstream = "shop"
[[routes.metrics]]
name = "model_predictions_total"
each = "predictions"
labels = { class = "json:class" }
[[routes.metrics]]
name = "model_score"
type = "histogram"
value = "json:predictions.#.score"
buckets = [0.5, 0.9, 1]
[[routes.metrics]]
name = "model_confidence"
type = "gauge"
value = "json:predictions.0.score"
[upstreams.shop]
targets = [%q, %q]
retry = { on = ["connect", "503"], budget = 0.5 }
[upstreams.hedged]
targets = [%q, %q]
retry = { hedge = 0.5, hedge_min = "1ms" }
`

// origin answers as the load needs it.
func origin(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/shop/fail":
		http.Error(w, "no", http.StatusServiceUnavailable)
	case "/hedged/x":
		if r.URL.Query().Has("slow") {
			select {
			case <-time.After(30 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	case "/cached/text":
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, strings.Repeat("weir ", 1000))
	case "/cached/private":
		w.Header().Set("Cache-Control", "no-store")
	case "/v1/models/pets:predict":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"predictions": [{"class": "cat", "score": 0.8}, {"class": "dog", "score": 0.6}]}`)
	case "/v1/models/broken":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "no json")
	}
}

// start starts a busy weir with these histograms, and clients of it until the test's end. It returns where
// its metrics are.
func start(t *testing.T, histograms string) string {
	t.Helper()
	a, b := httptest.NewServer(http.HandlerFunc(origin)), httptest.NewServer(http.HandlerFunc(origin))
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, busy, histograms, t.TempDir(), a.URL, "http://"+testkit.Reserve(t), a.URL, b.URL))
	if err != nil {
		t.Fatal(err)
	}
	weir, err := server.New(cfg, server.WithVersion("test"), server.WithTiers(func(c *config.Cache) ([]server.Tier, error) {
		tier, err := disk.New(&c.Persist)
		if err != nil {
			return nil, err
		}
		return []server.Tier{{Tier: tier, Queue: c.Far.Queue}}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := weir.Start(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	t.Cleanup(func() {
		close(stop)
		clients.Wait()
		if err := weir.Close(); err != nil {
			t.Error(err)
		}
	})
	base := "http://" + weir.Addr("main").String()
	clients.Go(func() { load(base, stop) })
	return weir.MetricsAddr().String()
}

// load asks for everything again and again, at some hundred requests a second.
func load(base string, stop <-chan struct{}) {
	paths := []string{
		"/shop/a", "/shop/items/17", "/shop/fail", "/no/route", "/cached/text", "/cached/text?x", "/cached/private", "/v1/models/pets:predict",
		"/v1/models/broken", "/hedged/x", "/hedged/x", "/hedged/x", "/hedged/x", "/hedged/x",
	}
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		path := paths[i%len(paths)]
		if path == "/hedged/x" && i%50 == 0 {
			path += "?slow"
		}
		method := http.MethodGet
		if path == "/shop/fail" && i%2 == 0 {
			method = http.MethodPost // which is not tried again
		}
		r, err := http.NewRequest(method, base+path, strings.NewReader(""))
		if err != nil {
			panic(err)
		}
		if path == "/cached/text?x" {
			r.URL.RawQuery = fmt.Sprint("x=", i) // a miss each time
		}
		if strings.HasPrefix(path, "/cached/") {
			r.Header.Set("Accept-Encoding", "gzip")
		}
		if response, err := http.DefaultClient.Do(r); err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}
}

// database starts a program that scrapes, which says on standard error where it listens, and returns that.
func database(t *testing.T, listens *regexp.Regexp, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	over := make(chan struct{})
	var last []string
	go func() {
		defer close(over)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if last = append(last, lines.Text()); len(last) > 20 {
				last = last[1:]
			}
			if m := listens.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case address <- m[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		c.Process.Signal(syscall.SIGTERM)
		<-over
		c.Wait() // how it ends after a signal does not matter
	})
	select {
	case a := <-address:
		return a
	case <-over:
		t.Fatalf("%s has ended:\n%s", name, strings.Join(last, "\n"))
	case <-time.After(testkit.Limit):
		t.Fatalf("%s does not say where it listens", name)
	}
	return ""
}

// prometheus starts a Prometheus that scrapes an address and evaluates the rules.
func prometheus(t *testing.T, scrapes string) string {
	t.Helper()
	rules, err := filepath.Abs("prometheus/weir.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files: [%q]\n"+
		"scrape_configs: [{ job_name: weir, static_configs: [{ targets: [%q] }] }]\n", rules, scrapes)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return database(t, regexp.MustCompile(`msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)`),
		"prometheus", "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
}

// result is what a query gave: the labels of each series.
type result []struct {
	Metric map[string]string `json:"metric"`
}

// ask runs a query; the result of one that came too early is empty.
func ask(t *testing.T, address, query string) (result, error) {
	t.Helper()
	response, err := http.PostForm("http://"+address+"/api/v1/query", url.Values{"query": {query}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return nil, nil // it has only just started
	}
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result result `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s", answer.Error)
	}
	return answer.Data.Result, nil
}

// board is what the test reads of a dashboard.
type board struct {
	UID        string `json:"uid"`
	Templating struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID      int    `json:"id"`
		Title   string `json:"title"`
		Targets []struct {
			Expr   string `json:"expr"`
			Legend string `json:"legendFormat"`
		} `json:"targets"`
	} `json:"panels"`
}

// variables are what stands for the variables of dashboards.
var variables = strings.NewReplacer(
	"$__rate_interval", "10s", "$job", ".*", "$route", ".*", "$upstream", ".*",
	"$counter", "model_predictions_total", "$histogram", "model_score_bucket", "$gauge", "model_confidence",
)

// TestDashboards: each query of each dashboard gives data, with the labels that its legend names.
func TestDashboards(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "prometheus")
	files, err := filepath.Glob("grafana/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %v, %v", files, err)
	}
	address := prometheus(t, start(t, "prometheus"))
	queries := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if b.UID != strings.TrimSuffix(filepath.Base(file), ".json") {
			t.Errorf("%s has the uid %q", file, b.UID)
		}
		ids := map[int]bool{}
		for _, p := range b.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", file, p.ID)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				queries++
				hasData(t, address, file+": "+p.Title, target.Expr, legendLabels(target.Legend))
			}
		}
		for _, v := range b.Templating.List {
			if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
				hasData(t, address, file+": $"+v.Name, m[1], []string{m[2]})
			} else if v.Type == "query" {
				t.Errorf("%s: $%s has the query %q", file, v.Name, v.Definition)
			}
		}
	}
	if queries < 80 {
		t.Errorf("only %d queries were found", queries)
	}
	rulesEvaluate(t, address)
}

// legendLabels are the labels that a legend shows.
func legendLabels(legend string) (labels []string) {
	for _, m := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(legend, -1) {
		labels = append(labels, m[1])
	}
	return labels
}

// hasData waits until a query of a dashboard gives a series with all of labels.
func hasData(t *testing.T, address, what, query string, labels []string) {
	t.Helper()
	query = variables.Replace(query)
	testkit.Eventually(t, fmt.Sprintf("%s has data with labels %v: %s", what, labels, query), func() bool {
		got, err := ask(t, address, query)
		if err != nil {
			t.Fatalf("%s: %s: %v", what, query, err)
		}
		return slices.ContainsFunc(got, func(r struct {
			Metric map[string]string `json:"metric"`
		}) bool {
			return !slices.ContainsFunc(labels, func(l string) bool { _, ok := r.Metric[l]; return !ok })
		})
	})
}

// rulesEvaluate waits until all rules were evaluated without an error.
func rulesEvaluate(t *testing.T, address string) {
	t.Helper()
	testkit.Eventually(t, "all rules were evaluated", func() bool {
		response, err := http.Get("http://" + address + "/api/v1/rules")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		rules, good := 0, 0
		for _, g := range answer.Data.Groups {
			for _, r := range g.Rules {
				rules++
				switch r.Health {
				case "ok":
					good++
				case "err":
					t.Fatalf("%s: %s", r.Name, r.LastError)
				}
			}
		}
		return rules > 0 && good == rules
	})
}

// TestVictoriaMetrics: a VictoriaMetrics makes quantiles of its own kind of histograms.
func TestVictoriaMetrics(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "victoria-metrics")
	dir := t.TempDir()
	path := filepath.Join(dir, "scrape.yml")
	text := fmt.Sprintf("scrape_configs: [{ job_name: weir, scrape_interval: 1s, static_configs: [{ targets: [%q] }] }]\n", start(t, "victoriametrics"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("victoria-metrics", "-promscrape.config="+path, "-storageDataPath="+filepath.Join(dir, "data"),
		"-httpListenAddr=127.0.0.1:0", "-search.latencyOffset=1s", "-search.disableCache", "-memory.allowedBytes=64MB")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill() // what it stores goes with the test
		c.Wait()
	})
	var address string
	testkit.Eventually(t, "VictoriaMetrics listens", func() bool {
		address = listens(c.Process.Pid)
		return address != ""
	})
	for _, query := range []string{
		`histogram_quantile(0.99, sum by (vmrange) (rate(weir_request_duration_seconds_bucket[10s])))`,
		`histogram_quantile(0.5, sum by (le, route) (prometheus_buckets(sum by (vmrange, route) (rate(weir_request_processing_seconds_bucket[10s])))))`,
		`sum by (phase) (rate(weir_request_phase_seconds_total[10s]))`,
	} {
		testkit.Eventually(t, "there is data: "+query, func() bool {
			got, err := ask(t, address, query)
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			return len(got) > 0
		})
	}
}

// listens returns where a process listens on loopback, which it does not say itself; empty for nowhere.
func listens(pid int) string {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	if err != nil {
		return ""
	}
	folder := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(folder)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		local, isLoopback := strings.CutPrefix(f[1], "0100007F:")
		if !isLoopback || f[3] != "0A" { // listening
			continue
		}
		socket := "socket:[" + f[9] + "]"
		for _, file := range files {
			if to, err := os.Readlink(filepath.Join(folder, file.Name())); err == nil && to == socket {
				port, err := strconv.ParseUint(local, 16, 16)
				if err != nil {
					return ""
				}
				return fmt.Sprintf("127.0.0.1:%d", port)
			}
		}
	}
	return ""
}
