package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// room is a folder, what it may import of weir, and why no more. A name that
// ends in "/" stands for every folder below it.
type room struct {
	name string
	may  []string
	why  string
}

// rooms are the rules of docs/architecture.md. A folder that is not here fails
// the test: say first who it may know.
func rooms() []room {
	// Only the commands may import these: they bring client libraries and files,
	// which programs that embed package server choose for themselves.
	leaves := []string{"cache/redis", "cache/disk", "discover/", "internal/acme", "internal/acme/", "trace/otlp"}
	return []room{
		{"config", []string{"internal/field"}, "what users may write, all its syntax included, can be read, and used by tools, without the rest"},
		{"docs", nil, "pages are text"},
		{"docs/site", nil, "a site is made of files, not of weir"},
		{"deploy", nil, "files for operators are no code"},
		{"deploy/container", nil, "files for operators are no code"},
		{"deploy/packages", nil, "files for operators are no code"},
		{"internal/prefetch", nil, "memory is memory, whatever is in it"},
		{"internal/sock", []string{"internal/prefetch"}, "what a socket can do has nothing to do with HTTP"},
		{"internal/field", nil, "the syntax of a value does not depend on who reads it"},
		{"internal/head", []string{"internal/prefetch"}, "whether a head is right does not depend on the code that uses it"},
		{"internal/body", []string{"internal/head", "internal/sock"}, "bytes are moved the same way whatever message they belong to"},
		{"internal/frames", []string{"internal/head", "internal/sock"}, "what both sides of HTTP/2 do with frames knows neither exchanges nor streams"},
		{"internal/figures", nil, "how long things take is counted the same way whatever they are"},
		{"internal/refs", nil, "counting who has a thing does not depend on what the thing is"},
		{"internal/resp", nil, "the frames of a protocol do not depend on the commands"},
		{"internal/handover", nil, "two processes of weir speak in messages that do not depend on what they are for"},
		{"internal/notify", nil, "telling the service manager has nothing to do with HTTP"},
		{"internal/mount", nil, "a handler of this process is served like any other server"},
		{"internal/demo", []string{"internal/mount"}, "the built-in origin stands for another program's server"},
		{"internal/access", []string{"config"}, "who may do what depends on who asks, not on what for"},
		{"internal/static", []string{"config"}, "which file a path names has nothing to do with who asks"},
		{"internal/match", []string{"config", "internal/field", "internal/head"}, "config parses what routes ask for, and a match is a function of that and a request"},
		{"internal/encode", []string{"internal/field", "internal/head"}, "compressing bytes does not depend on where they come from"},
		{"internal/forward", []string{"config", "internal/field", "internal/head"}, "header rules know neither routes nor targets"},
		{"internal/secure", []string{"config"}, "certificates, revocation, tickets and hellos have nothing to do with what is said through TLS"},
		{"internal/listener", []string{"config", "internal/secure"}, "accepting clients knows nothing of HTTP"},
		{"internal/transport", []string{"config", "internal/secure", "internal/sock", "internal/frames", "internal/head", "internal/body", "internal/prefetch"}, "connections to one target do not know why that target was chosen"},
		{"lb", []string{"config", "internal/field", "internal/refs"}, "it only chooses: health and discovery push into it, and connections are made by others, so that a pick is a walk over a snapshot"},
		{"lb/balance", []string{"config", "lb"}, "weir's own algorithms have no other means than those of programs that embed weir"},
		{"lb/lbtest", []string{"config", "lb", "lb/balance"}, "what tests of choosing share needs nothing that dials"},
		{"cache", []string{"config", "cache/rule", "cache/evict", "cache/tier", "internal/head"}, "it remembers and decides who waits; tiers are told what to do, so the store needs no proxy to be tested"},
		{"cache/rule", []string{"config", "internal/field", "internal/head"}, "the rules of HTTP caching are functions of what they are given; they know no store"},
		{"cache/evict", nil, "which entry leaves is decided by hashes and costs, not by what entries are"},
		{"cache/tier", []string{"cache/rule"}, "what a tier keeps can be read without the store"},
		{"cache/redis", []string{"config", "cache/tier", "internal/resp"}, "a client library stays in its leaf"},
		{"cache/disk", []string{"config", "cache/tier"}, "a tier keeps bytes and is chosen by the program"},
		{"health", []string{"config", "lb"}, "probes judge targets and nothing else"},
		{"discover", []string{"config", "lb"}, "sources report endpoints and nothing else"},
		{"discover/", []string{"config", "lb", "discover"}, "a client library stays in its leaf"},
		{"discover/dns/dnstest", []string{"discover", "discover/discovertest", "lb"}, "a registry for tests is no part of the program"},
		{"discover/etcd/etcdtest", []string{"discover", "discover/discovertest", "lb"}, "a registry for tests is no part of the program"},
		{"discover/kubernetes/kubetest", []string{"discover", "discover/discovertest", "lb"}, "a registry for tests is no part of the program"},
		{"discover/consul/consultest", []string{"discover", "discover/discovertest", "lb"}, "a registry for tests is no part of the program"},
		{"discover/zookeeper/zookeepertest", []string{"discover", "discover/discovertest", "lb"}, "a registry for tests is no part of the program"},
		{"discover/sourcetest", []string{"discover", "lb", "internal/testkit"}, "it watches what sources report, for tests"},
		{"discover/discovertest", []string{"config", "lb", "discover", "server"}, "it shows that whole weir follows a source"},
		{"proxy", []string{
			"config", "lb", "cache", "cache/rule", "internal/access", "internal/body", "internal/encode", "internal/field", "internal/figures", "internal/forward",
			"internal/head", "internal/match", "internal/prefetch", "internal/refs", "internal/sock", "internal/static", "internal/transport", "trace",
		}, "log, inspector and admin are hooks; front ends come to the core, not the core to them"},
		{"internal/http1", []string{
			"config", "proxy", "internal/body", "internal/forward", "internal/head", "internal/listener", "internal/prefetch", "internal/sock",
		}, "a front end translates between clients and the core"},
		{"internal/http2", []string{
			"config", "proxy", "internal/body", "internal/field", "internal/forward", "internal/frames", "internal/head", "internal/listener", "internal/prefetch", "internal/sock",
		}, "a front end translates between clients and the core"},
		{"internal/accesslog", []string{"config", "proxy", "trace", "internal/head", "internal/output", "internal/prefetch"}, "the access log is a hook"},
		{"trace", nil, "spans and contexts are plain data"},
		{"trace/otlp", []string{"config", "trace"}, "what a collector is sent depends on spans alone"},
		{"internal/tracing", []string{"config", "lb", "proxy", "trace", "internal/head"}, "the core calls it by an interface, and it hands spans to another"},
		{"internal/output", []string{"config"}, "it knows lines, not what they say"},
		{"internal/observe", []string{"config", "proxy", "internal/encode", "internal/field", "internal/figures", "internal/head"}, "metrics from bodies are a hook"},
		{"internal/inspect", []string{"admin", "config", "proxy", "internal/encode", "internal/field", "internal/head"}, "the recorder is a hook, and keeps exchanges in the form in which the admin API has them"},
		{"internal/objective", []string{"config", "proxy", "internal/figures"}, "objectives are a hook"},
		{"internal/statistics", []string{"config", "proxy", "internal/figures"}, "statistics are a hook"},
		{"admin/page", nil, "what browsers load asks the admin API like any other client"},
		{"admin/page/browser", nil, "what a browser shows is tested by what a browser can reach"},
		{"admin", []string{"config", "admin/page"}, "the operators' side commands what the server lends it by an interface, and so does weir purge from another process"},
		{"internal/grpctest", nil, "a folder of tests has no code"},
		{"internal/clienttest", nil, "a folder of tests has no code"},
		{"internal/registertest", nil, "a folder of tests has no code"},
		{"internal/testkit", []string{"config", "internal/head"}, "what tests share must not decide what they test"},
		{"server/hook", nil, "what embedders see of an exchange stays small when the core changes"},
		{"server", []string{
			"config", "lb", "lb/balance", "cache", "cache/rule", "cache/tier", "health", "discover", "proxy", "admin", "server/hook", "docs", "trace", "internal/",
		}, "it puts everything together but the leaves with client libraries, which embedders may not want"},
		{"bench/cmd/discovery", []string{"discover/"}, "it shows each source with the server that tests have for it"},
		{"bench/", []string{"config", "server", "bench", "bench/"}, "it measures weir as embedders and users see it"},
		{"bench", []string{"config", "server", "bench/"}, "it measures weir as embedders and users see it"},
		{"internal/importer", []string{"config"}, "what files of other programs mean needs no server"},
		{"examples/", []string{"config", "lb", "server"}, "they show what programs that embed weir do"},
		{"internal/acme", []string{"config", "admin", "internal/resp"}, "a client library stays in its leaf; what it knows of certificates is told in the form in which the admin API has it"},
		{"internal/acme/acmetest", nil, "what storages are to do is tested by what certmagic knows of them"},
		{"internal/acme/", []string{"internal/acme", "discover/etcd"}, "a client library stays in its leaf"},
		{"internal/cli", append([]string{"config", "server", "admin", "bench/load", "discover", "lb", "trace", "internal/importer", "internal/handover", "internal/notify", "internal/output"}, leaves...), "commands and signals; all else is package server's, so that embedders have it too"},
		{".", []string{commands}, "the program is its commands"},
	}
}

// commands is the folder of the program's commands. Only the program imports it:
// whatever imports it has all client libraries, which embedders may not want.
const commands = "internal/cli"

// issuing says whether a folder is one of those that get certificates. They are leaves.
func issuing(folder string) bool {
	return covers("internal/acme", folder) || covers("internal/acme/", folder)
}

// light are the modules of others that any folder may import. All others are for
// programs and the leaves alone, so that embedders do not inherit them.
func light() []string {
	return []string{
		"github.com/BurntSushi/toml", "github.com/HdrHistogram/hdrhistogram-go", "github.com/VictoriaMetrics/metrics",
		"github.com/andybalholm/brotli", "github.com/klauspost/compress", "github.com/pires/go-proxyproto", "github.com/tidwall/gjson",
		"github.com/valyala/fasthttp", "golang.org/x/crypto", "golang.org/x/net",
		"golang.org/x/sys",
	}
}

// covers says whether a rule's name stands for a folder.
func covers(name, folder string) bool {
	if strings.HasSuffix(name, "/") {
		return strings.HasPrefix(folder, name)
	}
	return name == folder
}

// roomOf returns the rule of a folder, an exact one before one for all below.
func roomOf(folder string) (room, bool) {
	all := rooms()
	if i := slices.IndexFunc(all, func(r room) bool { return r.name == folder }); i >= 0 {
		return all[i], true
	}
	if i := slices.IndexFunc(all, func(r room) bool { return covers(r.name, folder) }); i >= 0 {
		return all[i], true
	}
	return room{}, false
}

// sources parses the files of each folder, without tests, up to their imports.
func sources(t *testing.T) map[string][]*ast.File {
	t.Helper()
	found := make(map[string][]*ast.File)
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name != "." && (base == "testdata" || base == "bin" || strings.HasPrefix(base, ".")) {
				return fs.SkipDir
			}
			if _, err := os.Stat(path.Join(name, "go.mod")); err == nil && name != "." {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		found[path.Dir(name)] = append(found[path.Dir(name)], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("only %d folders were found", len(found))
	}
	return found
}

func TestImports(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	module := strings.Fields(string(text))[1] // "make module" changes it
	for folder, files := range sources(t) {
		r, ok := roomOf(folder)
		if !ok {
			t.Errorf("%s: no rule says what it may import; add one to rooms", folder)
			continue
		}
		for _, f := range files {
			for _, spec := range f.Imports {
				imported := strings.Trim(spec.Path.Value, `"`)
				if ours, ok := strings.CutPrefix(imported+"/", module+"/"); ok {
					imported = strings.TrimSuffix("weir/"+ours, "/")
				}
				if problem := judgeImport(r, folder, imported); problem != "" {
					t.Error(problem)
				}
			}
		}
	}
}

// judgeImport returns what is wrong with an import, or nothing.
func judgeImport(r room, folder, imported string) string {
	first, _, _ := strings.Cut(imported, "/")
	switch {
	case first == "weir":
		ours := strings.TrimPrefix(strings.TrimPrefix(imported, "weir"), "/")
		if ours == commands && folder != "." {
			return folder + " imports " + imported + ": only the program may, because it brings all client libraries"
		}
		if issuing(ours) && folder != commands && !issuing(folder) {
			return folder + " imports " + imported + ": only the commands may, because it brings a client library"
		}
		if !slices.ContainsFunc(r.may, func(name string) bool { return covers(name, ours) }) {
			return folder + " imports " + imported + "; it may import of weir " + strings.Join(r.may, ", ") + ": " + r.why
		}
	case strings.Contains(first, "."):
		leaf := slices.Contains([]string{commands, "bench/cmd/peers", "docs/site", "internal/importer", "cache/redis", "trace/otlp"}, folder) || issuing(folder) || strings.HasPrefix(folder, "discover/")
		if !leaf && !slices.ContainsFunc(light(), func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }) {
			return folder + " imports " + imported + ": only programs and the leaf folders may bring client libraries"
		}
	}
	return ""
}

// The test above must be able to fail.
func TestImportRules(t *testing.T) {
	check := func(folder, imported string, allowed bool) {
		t.Helper()
		r, ok := roomOf(folder)
		if got := ok && judgeImport(r, folder, imported) == ""; got != allowed {
			t.Errorf("%s imports %s: allowed is %v", folder, imported, got)
		}
	}
	check("config", "net/netip", true)
	check("config", "github.com/BurntSushi/toml", true)
	check("config", "weir/lb", false)
	check("lb", "weir/health", false)
	check("lb", "weir/internal/transport", false)
	check("internal/transport", "weir/lb", false)
	check("proxy", "weir/internal/accesslog", false)
	check("proxy", "weir/cache/redis", false)
	check("server", "weir/internal/http1", true)
	check("server", "weir/discover/consul", false)
	check("server", "weir", false)
	check("server", "weir/internal/cli", false)
	check("server", "weir/cache/redis", false)
	check("server", "weir/internal/acme", false)
	check("internal/acme", "github.com/caddyserver/certmagic", true)
	check("bench/outage", "weir/internal/cli", false)
	check("discover/consul", "github.com/hashicorp/consul/api", true)
	check("discover", "github.com/hashicorp/consul/api", false)
	check("internal/cli", "weir/discover/consul", true)
	check("internal/cli", "weir/proxy", false)
	check("internal/cli", "github.com/urfave/cli/v3", true)
	check(".", "weir/internal/cli", true)
	check(".", "weir/cache/redis", false)
	check("somewhere", "net", false)
}

// One package comment in each folder, so that there is one place to look for
// what it does, what it does not, and who calls it.
func TestPackageComments(t *testing.T) {
	for folder, files := range sources(t) {
		comments := 0
		for _, f := range files {
			if f.Doc != nil {
				comments++
			}
		}
		if comments != 1 {
			t.Errorf("%s has %d package comments, want 1", folder, comments)
		}
	}
}
