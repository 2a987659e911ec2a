package file_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/discover/file"
	"weir/discover/sourcetest"
	"weir/lb"
)

// world is a source and the folder of its file; it must run in a synctest bubble.
type world struct {
	*testing.T
	path string
	log  bytes.Buffer

	mu   sync.Mutex
	last string
	// reports counts the reports.
	reports int
	failed  error
}

func run(t *testing.T, first string) *world {
	w := &world{T: t, path: filepath.Join(t.TempDir(), "targets")}
	w.write(first)
	w.start()
	return w
}

// start runs the source until it fails or the test ends.
func (w *world) start() {
	u := &url.URL{Scheme: "file", Path: w.path}
	s, err := file.Scheme().Source(u, discover.SchemeOptions{Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := s.Run(ctx, func(list []lb.Endpoint) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.last, w.failed = fmt.Sprint(list), nil
			w.reports++
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = err
	}()
	w.Cleanup(func() { cancel(); <-ended })
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// write writes the file in place.
func (w *world) write(text string) {
	w.Helper()
	w.must(os.WriteFile(w.path, []byte(text), 0o600))
}

// sees waits as long as a change may take and compares what was reported last.
func (w *world) sees(what, want string) {
	w.Helper()
	time.Sleep(time.Second)
	if last, _, failed := w.state(); last != want || failed != nil {
		w.Errorf("%s: got %s, error %v, want %s", what, last, failed, want)
	}
}

// state returns what was reported last, how many reports there were, and how Run failed.
func (w *world) state() (string, int, error) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.reports, w.failed
}

const one, two, none = "[{http://one 1 0 false 0}]", "[{http://two 2 1 true 0}]", "[]"

const twoTOML = `targets = [{ url = "http://two", weight = 2, priority = 1, drain = true }]`

func TestChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := run(t, `["http://one"]`)
		w.sees("at the start", one)
		w.write(twoTOML)
		w.sees("written in place", two)
		next := w.path + ".next"
		w.must(os.WriteFile(next, []byte(`["http://one"]`), 0o600))
		w.must(os.Rename(next, w.path))
		w.sees("another file in its place", one)
		w.write("targets = []")
		w.sees("an empty list", none)
		_, before, _ := w.state()
		time.Sleep(30 * time.Second)
		_, after, _ := w.state()
		if n := after - before; n < 2 || n > 10 {
			t.Errorf("%d reports in 30 s without a change", n)
		}
	})
}

// A file that a program is still writing is not read, whether the source runs already or begins meanwhile.
func TestHalf(t *testing.T) {
	t.Parallel()
	const blocks = 60
	whole := strings.Repeat("[[targets]]\nurl = \"http://one\"\n", blocks)
	slowly := func(w *world) {
		w.write("")
		for i := range blocks {
			time.Sleep(110 * time.Millisecond)
			w.write(whole[:len(whole)/blocks*(i+1)])
		}
	}
	synctest.Test(t, func(t *testing.T) {
		w := run(t, `["http://two"]`)
		w.sees("at the start", "[{http://two 1 0 false 0}]")
		slowly(w)
		if last, _, _ := w.state(); last != "[{http://two 1 0 false 0}]" {
			t.Errorf("a part of the file was read: %d endpoints", strings.Count(last, "one"))
		}
		w.failed = nil
		w.start()
		w.sees("all of it", "["+strings.TrimSpace(strings.Repeat(one[1:len(one)-1]+" ", blocks))+"]")
	})
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, path: filepath.Join(t.TempDir(), "targets")}
		w.write(whole[:len(whole)/blocks])
		w.start()
		slowly(w)
		if last, _, failed := w.state(); last != "" || failed == nil || !strings.Contains(failed.Error(), "being written") {
			t.Errorf("a part of the file was read: %d endpoints, %v", strings.Count(last, "one"), failed)
		}
	})
}

// A file that is replaced more often than it is looked at is read all the same, and always whole.
func TestReplacedOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := run(t, `["http://h0"]`)
		w.sees("at the start", "[{http://h0 1 0 false 0}]")
		_, before, _ := w.state()
		const times = 300
		for i := range times {
			next := w.path + ".next"
			w.must(os.WriteFile(next, fmt.Appendf(nil, `["http://h%d"]`, i+1), 0o600))
			w.must(os.Rename(next, w.path))
			time.Sleep(50 * time.Millisecond)
		}
		if _, after, failed := w.state(); after-before < 20 || failed != nil {
			t.Errorf("%d reports of %d files, error %v", after-before, times, failed)
		}
		w.sees("in the end", fmt.Sprintf("[{http://h%d 1 0 false 0}]", times))
	})
}

// A change that leaves size and time as they were is seen when the file is read again.
func TestSameStamp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := run(t, `["http://two"]`)
		w.sees("at the start", "[{http://two 1 0 false 0}]")
		info, err := os.Stat(w.path)
		w.must(err)
		w.write(`["http://one"]`)
		w.must(os.Chtimes(w.path, info.ModTime(), info.ModTime()))
		time.Sleep(5 * time.Second)
		w.sees("after five seconds", one)
	})
}

// Kubernetes mounts a ConfigMap as links to a folder "..data", which is a link itself that is replaced.
func TestConfigMap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := &world{T: t, path: filepath.Join(dir, "targets.toml")}
		mount := func(version, text string) {
			folder := filepath.Join(dir, version)
			w.must(os.Mkdir(folder, 0o700))
			w.must(os.WriteFile(filepath.Join(folder, "targets.toml"), []byte(text), 0o600))
			w.must(os.Symlink(version, filepath.Join(dir, "..next")))
			w.must(os.Rename(filepath.Join(dir, "..next"), filepath.Join(dir, "..data")))
		}
		mount("..1", `targets = ["http://one"]`)
		w.must(os.Symlink("..data/targets.toml", w.path))
		w.start()
		w.sees("at the start", one)
		mount("..2", twoTOML)
		w.must(os.RemoveAll(filepath.Join(dir, "..1")))
		w.sees("the folder was replaced", two)
	})
}

// Whatever is wrong ends Run with the reason, and nothing is reported.
func TestFails(t *testing.T) {
	t.Parallel()
	for what, breaks := range map[string]func(w *world){
		"no such file":           func(w *world) { w.must(os.Remove(w.path)) },
		"no regular file":        func(w *world) { w.must(os.Remove(w.path)); w.must(os.Mkdir(w.path, 0o700)) },
		"is no regular file":     func(w *world) { w.must(os.Remove(w.path)); w.must(syscall.Mkfifo(w.path, 0o600)) }, // to which no process writes
		"neither TOML nor JSON":  func(w *world) { w.write("targets = [\"http://o") },
		"no key \"targets\"":     func(w *world) { w.write("") },
		"none of the targets":    func(w *world) { w.write(`["ftp://x"]`) },
		"more than 16777216 byt": func(w *world) { w.write("targets = []" + strings.Repeat(" ", 16<<20)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := run(t, `["http://one"]`)
			w.sees(what, one)
			breaks(w)
			time.Sleep(time.Second)
			last, _, failed := w.state()
			if failed == nil || !strings.Contains(failed.Error(), what) || last != one {
				t.Errorf("%s: got %v, reported %s", what, failed, last)
			}
			w.must(os.RemoveAll(w.path))
			w.write(`["http://one", 5, 5, "http://user:secret@x"]`)
			w.start()
			w.sees("mended", one)
			time.Sleep(20 * time.Second)
			w.state()
			if log := w.log.String(); strings.Count(log, "cannot be used") != 3 || strings.Contains(log, "secret") {
				t.Errorf("log:\n%s", log)
			}
		})
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"file:/a": "", "file:///a": "", "file:a": "absolute path", "file://host/a": "absolute path", "file:": "absolute path", "file:/a?b=c": "no options",
	} {
		u, err := url.Parse(text)
		if err == nil {
			_, err = file.Scheme().Source(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
		}
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

// Traffic follows the file.
func TestTraffic(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "targets.json")
	if err := discovertest.Follow(discovertest.File(path, file.Scheme()), nil); err != nil {
		t.Error(err)
	}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "services.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"services": {"shop/v1": ["http://a"], "cart": ["http://b"]}}`)
	r := sourcetest.Catalog(t, file.Scheme(), "file:"+path)
	r.Sees("cart http://b, shop/v1 http://a")
	write("[services]\n\"shop/v2\" = [\"http://c\", \"ftp://d\"]")
	r.Sees("shop/v2 http://c, shop/v2 wrong")
	write("[services]")
	r.Sees("")
	write("nonsense")
	if err := <-r.Ended; err == nil {
		t.Error("nonsense: no error")
	}
}
