package container_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// need is testkit.Programs for tests that only root can run.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run containers everywhere")
	}
	testkit.Programs(t, programs...)
}

// engine runs containers, with all that it keeps in a folder of the test.
type engine struct {
	t     *testing.T
	flags []string
}

func newEngine(t *testing.T) *engine {
	need(t, "buildah", "podman", "crun", "unshare", "make")
	folder, err := os.MkdirTemp("", "weir-engine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a process that podman leaves behind after a container may still write there
		testkit.Eventually(t, "the engine's folder is gone", func() bool { return os.RemoveAll(folder) == nil })
	})
	return &engine{t, []string{"--root", filepath.Join(folder, "root"), "--runroot", filepath.Join(folder, "run"), "--storage-driver", "vfs"}}
}

// command returns a command of podman. crun refuses to start where there are control groups of both
// versions, so it does not get to see the second.
func (e *engine) command(arguments ...string) *exec.Cmd {
	const alone = `umount /sys/fs/cgroup/unified 2>/dev/null; exec podman "$@"`
	all := append([]string{"--mount", "--propagation", "private", "sh", "-c", alone, "podman"}, e.flags...)
	all = append(all, "--cgroup-manager", "cgroupfs", "--events-backend", "file")
	return exec.Command("unshare", append(all, arguments...)...)
}

// podman runs a command of podman that has to work, and returns what it says.
func (e *engine) podman(arguments ...string) string {
	e.t.Helper()
	out, err := e.command(arguments...).CombinedOutput()
	if err != nil {
		e.t.Fatalf("podman %q: %v\n%s", arguments, err, out)
	}
	return strings.TrimSpace(string(out))
}

// weir is a running container.
type weir struct {
	cmd *exec.Cmd
	log *bufio.Reader
	url string
}

var listening = regexp.MustCompile(`msg=listening .* address=(\S+)`)

// run starts a container of the image, confined as far as can be, with a configuration, and returns
// when it listens.
func (e *engine) run(name, configuration string, more ...string) *weir {
	e.t.Helper()
	file := filepath.Join(e.t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
		e.t.Fatal(err)
	}
	flags := append([]string{
		"run", "--name", name, "--network", "host", "--dns", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--no-hosts", "-v", file + ":/etc/weir/config.toml:ro",
	}, more...)
	w := &weir{cmd: e.command(append(flags, "weir")...)}
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	w.log = bufio.NewReader(stderr)
	if err := w.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if w.cmd.ProcessState == nil {
			e.command("rm", "--force", "--time", "0", name).Run()
			w.cmd.Wait()
		}
	})
	w.url = "http://" + listening.FindStringSubmatch(w.logged(e.t, "msg=listening"))[1] + "/"
	return w
}

// logged reads the log up to a line with text.
func (w *weir) logged(t *testing.T, text string) string {
	t.Helper()
	var seen strings.Builder
	for {
		line, err := w.log.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("the log ends before %q: %s", text, seen.String())
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func answering(t *testing.T, text string) string {
	return "[[listeners]]\naddress = \"" + testkit.Reserve(t) + "\"\n[metrics]\naddress = \"" + testkit.Reserve(t) + "\"\n[[routes]]\nname = \"fixed\"\nrespond = { status = 200, body = \"" + text + "\" }\n"
}

// TestImage builds the image as "make image" does, and runs it.
func TestImage(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	build := exec.Command("make", "image", "OUT="+t.TempDir(), "BUILDAH=buildah "+strings.Join(e.flags, " "))
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var images []struct {
		Size   int64
		Config struct {
			User       string
			Entrypoint []string
		}
		HealthCheck *struct{ Test []string }
	}
	if err := json.Unmarshal([]byte(e.podman("image", "inspect", "weir")), &images); err != nil || len(images) != 1 {
		t.Fatalf("%d images, %v", len(images), err)
	}
	image := images[0]
	if image.Config.User != "65532:65532" || image.HealthCheck == nil || image.HealthCheck.Test[1] != "/usr/bin/weir" {
		t.Errorf("the image is %+v", image)
	}
	t.Logf("the image has %.1f MB", float64(image.Size)/1e6)

	w := e.run("first", answering(t, "one"), "--memory", "100m")
	if got := get(t, w.url); got != "one" {
		t.Errorf("it answers %q", got)
	}
	if got := e.podman("exec", "first", "/usr/bin/weir", "health"); got != "healthy" {
		t.Errorf("weir health says %q", got)
	}
	e.podman("healthcheck", "run", "first")
	if got := e.podman("top", "first", "huser", "pid"); !strings.Contains(got, "65532") || strings.Count(got, "\n") != 1 {
		t.Errorf("its processes are %q", got)
	}

	// Signals of process 1.
	e.podman("kill", "--signal", "HUP", "first")
	w.logged(t, "msg=reloaded")
	if got := get(t, w.url); got != "one" {
		t.Errorf("after the reload it answers %q", got)
	}
	e.podman("kill", "--signal", "USR2", "first")
	w.logged(t, "this is process 1, with whose end the container ends")
	if got := get(t, w.url); got != "one" {
		t.Errorf("after the upgrade that was refused it answers %q", got)
	}
	e.podman("kill", "--signal", "TERM", "first")
	w.logged(t, "msg=stopped")
	if err := w.cmd.Wait(); err != nil {
		t.Errorf("it ends with %v", err)
	}

	// The configuration of the image is right.
	if got := e.podman("run", "--rm", "--network", "none", "--read-only", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "weir", "check"); !strings.Contains(got, "is fine") {
		t.Errorf("weir check says %q", got)
	}
}

// TestCompilingStage does what the stage "source" of the Dockerfile does, whose image comes from a registry: COPY and RUN, one
// after the other, in a folder that is empty at first.
func TestCompilingStage(t *testing.T) {
	t.Parallel()
	testkit.Program(t, "make")
	testkit.Program(t, "git")
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, stage, _ := strings.Cut(string(text), " AS source\n")
	stage, _, found := strings.Cut(stage, "\nFROM ")
	if !found {
		t.Fatal("there is no stage \"source\"")
	}
	src, out := t.TempDir(), t.TempDir()
	run := func(script string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
		cmd.Dir = src
		cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(src)) // .dockerignore leaves .git out
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, said)
		}
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(stage) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch instruction {
		case "COPY":
			if rest == ". ." {
				run("cd '" + checkout + "' && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t '" + src + "'")
				continue
			}
			names := strings.Fields(rest)
			for _, name := range names[:len(names)-1] {
				run("cp '" + filepath.Join(checkout, name) + "' .")
			}
		case "RUN":
			run(strings.NewReplacer("/out", out, "$VERSION", "").Replace(rest))
		case "", "WORKDIR", "ARG":
		default:
			t.Errorf("the test does not know %s", line)
		}
	}
	said, err := exec.CommandContext(t.Context(), filepath.Join(out, "weir"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(said), "weir ") {
		t.Errorf("weir version: %v, %s", err, said)
	}
}

// TestCompose checks the parts of compose.yaml, which itself needs images from a registry: it fits the schema of Compose,
// the files that it mounts are there, weir and Prometheus accept theirs, and those of Grafana name files that are mounted.
func TestCompose(t *testing.T) {
	t.Parallel()
	need(t, "promtool", "make", "docker-compose")
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// The schema of docker-compose 1.29 is from before "name".
	old := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(old, []byte(strings.Replace(string(text), "\nname: weir\n", "\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(t.Context(), "docker-compose", "--project-directory", ".", "-f", old, "config", "--quiet").CombinedOutput(); err != nil {
		t.Errorf("docker-compose config: %v\n%s", err, said)
	}
	provider, err := os.ReadFile("grafana/dashboards.yml")
	if err != nil {
		t.Fatal(err)
	}
	folder := regexp.MustCompile(`path: *(\S+)`).FindSubmatch(provider)
	if folder == nil || !strings.Contains(string(text), ":"+string(folder[1])+":ro") {
		t.Errorf("grafana/dashboards.yml has %q, which is not mounted", folder)
	}
	source, err := os.ReadFile("grafana/datasource.yml")
	if err != nil {
		t.Fatal(err)
	}
	host := regexp.MustCompile(`url: *http://(\w+):`).FindSubmatch(source)
	if host == nil || !strings.Contains(string(text), "\n  "+string(host[1])+":\n") {
		t.Errorf("grafana/datasource.yml has %q, which is no service", host)
	}
	mounts := regexp.MustCompile(`"(\.[^":]*):([^":]+):ro"`).FindAllStringSubmatch(string(text), -1)
	if len(mounts) < 8 {
		t.Errorf("only %d mounts were seen", len(mounts))
	}
	for _, m := range mounts {
		if _, err := os.Stat(m[1]); err != nil {
			t.Error(err)
		}
	}
	out := t.TempDir()
	run := func(program string, arguments ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, arguments...)
		cmd.Dir = "../.."
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %q: %v\n%s", program, arguments, err, said)
		}
	}
	run("make", "build", "OUT="+out)
	for _, file := range []string{"weir.toml", "compose.toml", "origin.toml"} {
		run(filepath.Join(out, "weir"), "check", "--config", "deploy/container/"+file)
	}
	// promtool looks for the rules beside the file, where Compose mounts them.
	for _, file := range []string{"prometheus.yml", "../prometheus/weir.rules.yml"} {
		run("cp", "deploy/container/"+file, out)
	}
	run("promtool", "check", "config", filepath.Join(out, "prometheus.yml"))
}
