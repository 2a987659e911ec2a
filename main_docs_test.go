package main_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```$")
	inlineCode = regexp.MustCompile("`((?:weir|make) [^`\n]+)`")
)

// commandsOf returns the commands of the program and of make that a page has, in blocks and
// in text.
func commandsOf(page string) (list []string) {
	for _, b := range shellBlock.FindAllStringSubmatch(page, -1) {
		console := strings.HasPrefix(b[1], "$ ")
		for line := range strings.Lines(b[1]) {
			command, prompted := strings.CutPrefix(line, "$ ")
			if console && !prompted {
				continue // what a command prints
			}
			command, _, _ = strings.Cut(command, "  #")
			if words := strings.Fields(command); len(words) > 1 && (words[0] == "weir" || words[0] == "make") {
				list = append(list, strings.TrimSuffix(strings.TrimSpace(command), " &"))
			}
		}
	}
	for _, code := range inlineCode.FindAllStringSubmatch(page, -1) {
		list = append(list, code[1])
	}
	return list
}

// TestCommands: the commands that the pages have are there, with their flags.
func TestCommands(t *testing.T) {
	help := make(map[string]string)
	for _, name := range visible(t) {
		help[name], _, _ = weir(t, name, "--help")
	}
	targets, err := exec.Command("make").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range commandsOf(string(text)) {
			n++
			words := strings.Fields(command)
			name, known := words[1], false
			if words[0] == "make" {
				known = strings.Contains(string(targets), "\n  "+name+" ") || strings.Contains(name, "=")
			} else if _, known = help[name]; name == "--version" || name == "..." {
				continue
			}
			if !known {
				t.Errorf("%s: there is no %q", page, command)
				continue
			}
			for _, flag := range words[2:] {
				flag = strings.Trim(flag, "[]")
				if words[0] == "weir" && strings.HasPrefix(flag, "--") && !strings.Contains(help[name], flag) {
					t.Errorf("%s: %q has no flag %s", page, command, flag)
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d commands were seen", n)
	}
}

// between returns the text of a page from one mark to the next.
func between(t *testing.T, page, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, from)
	text, _, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("there is no text between %q and %q", from, to)
	}
	return text
}

// TestFirstSteps runs what the README shows first: the welcome is what it shows, each of
// its lines works, and so do the other ways to begin, beside it.
func TestFirstSteps(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	welcome := between(t, page, "$ make run\n", "\n$ curl")

	// The reference file, on ports that are free.
	reference, err := os.ReadFile("config.toml")
	if err != nil {
		t.Fatal(err)
	}
	anyPort := regexp.MustCompile(`"127\.0\.0\.1:\d+"`)
	ports := anyPort.FindAllString(string(reference), -1)
	c := start(t, "run", "--config", file(t, anyPort.ReplaceAllString(string(reference), `"127.0.0.1:0"`)))
	metrics := "http://" + metricsPage.FindStringSubmatch(c.logged("metrics and health"))[1]
	var printed strings.Builder
	for !strings.Contains(printed.String(), "Ctrl-C") {
		line, err := c.stderr.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		printed.WriteString(line)
	}
	here := strings.NewReplacer("http://127.0.0.1:8080", c.url, "http://127.0.0.1:9110", metrics)
	// Ports may be longer, so the columns may not be as wide.
	columns := regexp.MustCompile(` +#`)
	same := func(text string) string { return columns.ReplaceAllString(strings.TrimSpace(text), " #") }
	if got, want := same(printed.String()), same(here.Replace(welcome)); got != want {
		t.Errorf("the welcome is\n%s\nwhile the README has\n%s", got, want)
	}

	// Its lines, and the one whose answer the README shows.
	shell := func(line string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "bash", "-c", here.Replace(line)).Output()
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		return string(out)
	}
	n := 0
	for line := range strings.Lines(welcome) {
		if strings.HasPrefix(strings.TrimSpace(line), "curl ") {
			n++
			if shell(line) == "" {
				t.Errorf("%s: no answer", line)
			}
		}
	}
	if n < 6 {
		t.Errorf("only %d lines were run", n)
	}
	shown := between(t, page, "# in another terminal\n", "\n$ make test")
	target := regexp.MustCompile(`from \w+`) // any of three
	got := target.ReplaceAllString(shell("curl -sN 'http://127.0.0.1:8080/events?n=3&every=1ms'"), "from one")
	if same(got) != same(shown) {
		t.Errorf("the events are\n%s\nwhile the README has\n%s", got, shown)
	}
	c.signal(syscall.SIGINT)
	c.ends(0)

	// The smallest file, and the line without one, which are served beside it.
	smallest := between(t, page, "```toml\n", "```")
	ports = append(ports, anyPort.FindAllString(smallest[:strings.Index(smallest, "[[routes]]")], -1)...)
	path := file(t, smallest)
	if stdout, stderr, code := weir(t, "check", "--config", path); code != 0 || !strings.Contains(stdout, "is fine") {
		t.Errorf("weir check: exit code %d, %s%s", code, stdout, stderr)
	}
	c = start(t, "run", "--config", file(t, strings.Replace(smallest, "127.0.0.1:8081", "127.0.0.1:0", 1)))
	c.signal(syscall.SIGINT)
	c.ends(0)
	line := strings.Fields(between(t, page, "\nweir run --listen", "\n"))
	ports = append(ports, fmt.Sprintf("%q", "127.0.0.1"+line[0]))
	c = start(t, slices.Concat([]string{"run", "--listen", "127.0.0.1:0"}, line[1:])...)
	c.signal(syscall.SIGINT)
	c.ends(0)
	slices.Sort(ports)
	if len(slices.Compact(slices.Clone(ports))) != len(ports) || len(ports) < 4 {
		t.Errorf("the first examples cannot run side by side: they have the addresses %s", ports)
	}
}

// TestEmbedding: the program in docs/embedding.md is made outside this folder by exactly the
// lines that stand there and in the README.
func TestEmbedding(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("docs/embedding.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	page, dir := string(data), t.TempDir()
	program := "package main\n" + between(t, page, "```go\npackage main\n", "```")
	write(t, filepath.Join(dir, "main.go"), strings.Replace(program, "127.0.0.1:8082", "127.0.0.1:0", 1))
	run := func(line string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(line, "../weir", here))
		cmd.Dir = dir
		// Built like the program of these tests, so that what both need is compiled once.
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-trimpath", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	lines := between(t, page, "```sh\ngo mod init", "```")
	run("go mod init" + strings.Replace(lines, "go run .", "go build -o example .", 1))
	program = filepath.Join(dir, "example")
	embedded := exec.CommandContext(t.Context(), program)
	stderr, err := embedded.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := embedded.Start(); err != nil {
		t.Fatal(err)
	}
	defer embedded.Wait()
	defer embedded.Process.Kill()
	said, err := bufio.NewReader(stderr).ReadString('\n')
	_, url, ok := strings.Cut(strings.TrimSpace(said), "serving at ")
	if err != nil || !ok {
		t.Fatalf("%q, %v", said, err)
	}
	c := child{t: t, url: url}
	if _, body := c.get("/tea"); body != "the shop has no /tea\n" {
		t.Errorf("it answers %q", body)
	}
	// The README's two lines are what the go command has written.
	written, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(between(t, string(readme), "Your go.mod needs the place of the checkout:\n\n```\n", "```")) {
		if !strings.Contains(string(written), strings.ReplaceAll(strings.TrimPrefix(line, "require "), "../weir", here)) {
			t.Errorf("go.mod lacks %s:\n%s", line, written)
		}
	}
}
