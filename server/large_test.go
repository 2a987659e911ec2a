package server_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/cache/disk"
	"weir/cache/tier"
	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// Bodies above max_object, which go to and from the disk.

const mib = 1 << 20

// large is a body in which every 8 bytes say where they are. The race detector
// would make it the most expensive part of the tests.
//
//go:norace
func large(seed uint64, size int) []byte {
	b := make([]byte, size+8)
	for i := 0; i < size; i += 8 {
		binary.BigEndian.PutUint64(b[i:], uint64(i)<<5|seed&0xff)
	}
	return b[:size]
}

// library is an origin of large bodies and the weir in front of it, whose disk
// is in folder.
type library struct {
	*weir
	t      *testing.T
	folder string
	size   string // of the disk
	origin string
	asked  atomic.Int64
	// validated counts answers with 304.
	validated atomic.Int64
	// pauses is called in the middle of each body.
	pauses atomic.Pointer[func(r *http.Request)]
	// cut ends answers in the middle, fails makes them 503.
	cut, fails atomic.Bool
	// seed is that of the bodies, and their entity tag.
	seed atomic.Uint64
}

// wrap changes the disk tier of a test.
type wrap func(t tier.Tier) tier.Tier

func newLibrary(t *testing.T) *library {
	l := &library{t: t, folder: t.TempDir(), size: "24MiB"}
	l.pause(func(*http.Request) {})
	l.origin = cachedOrigin(t, l.serve)
	l.start(nil)
	return l
}

// pause sets what happens in the middle of each body.
func (l *library) pause(f func(r *http.Request)) { l.pauses.Store(&f) }

// serve answers with a body of as many bytes as the path says, chunked if it
// ends in "c", and Cache-Control as in the query.
func (l *library) serve(w http.ResponseWriter, r *http.Request) {
	l.asked.Add(1)
	name := strings.TrimPrefix(r.URL.Path, "/")
	name, chunked := strings.CutSuffix(name, "c")
	size, _ := strconv.Atoi(strings.TrimLeft(name, "abdefgh"))
	if l.fails.Load() {
		w.WriteHeader(503)
		return
	}
	tag := fmt.Sprintf(`"%d"`, l.seed.Load())
	w.Header().Set("ETag", tag)
	w.Header().Set("Content-Type", "text/x-large")
	w.Header().Set("Cache-Control", "max-age=600")
	if cc := r.URL.Query().Get("cc"); cc != "" {
		w.Header().Set("Cache-Control", cc)
	}
	if r.Header.Get("If-None-Match") == tag {
		l.validated.Add(1)
		w.WriteHeader(304)
		return
	}
	if !chunked {
		w.Header().Set("Content-Length", strconv.Itoa(size))
	}
	seed, err := strconv.ParseUint(r.URL.Query().Get("seed"), 10, 64)
	if err != nil {
		seed = l.seed.Load()
	}
	body := large(seed, size)
	w.Write(body[:size/2])
	w.(http.Flusher).Flush()
	(*l.pauses.Load())(r)
	if l.cut.Load() {
		panic(http.ErrAbortHandler)
	}
	w.Write(body[size/2:])
}

// start starts weir, again after a restart.
func (l *library) start(with wrap) {
	l.t.Helper()
	if l.weir != nil {
		l.weir.Close()
	}
	cfg, err := config.Parse("test.toml", fmt.Appendf(nil, `
[[listeners]]
name = "main"
address = "127.0.0.1:0"
[cache]
size = "16MiB"
max_object = "256KiB"
purge_from = ["127.0.0.1"]
[cache.persist]
folder = %q
size = %q
max_object = "12MiB"
[[routes]]
upstream = "origin"
[routes.cache]
[upstreams.origin]
targets = [%q]
`, l.folder, l.size, l.origin))
	if err != nil {
		l.t.Fatal(err)
	}
	l.weir = &weir{t: l.t, log: &accessLog{}}
	var used tier.Tier
	l.Server, err = server.New(cfg, server.WithAccessLogWriter(l.log), server.WithTiers(func(c *config.Cache) ([]server.Tier, error) {
		d, err := disk.New(&c.Persist)
		if used = d; with != nil {
			used = with(d)
		}
		return []server.Tier{{Tier: used, Queue: 100}}, err
	}))
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { l.weir.Close() })
	l.addr = l.Addr("main")
	testkit.Eventually(l.t, "the disk is read", func() bool {
		_, _, err := used.Get([]byte("?"))
		return !errors.Is(err, tier.ErrUnavailable)
	})
}

// check gets a path and compares what comes with what should.
func (l *library) check(what, path string, body []byte, status int, cacheStatus string, fields ...string) http.Header {
	l.t.Helper()
	s, h, b := l.get("GET", path, fields...)
	if s != status || b != string(body) || !strings.HasPrefix(h.Get("Cache-Status"), cacheStatus) {
		l.t.Errorf("%s: status %d, %d bytes %.60q, Cache-Status %q; want %d, %d bytes, %q",
			what, s, len(b), b, h.Get("Cache-Status"), status, len(body), cacheStatus)
	}
	return h
}

// evicted gets a path whose stored body cannot be used, so that the origin is
// asked again. The lifetime that is left may be a second less than all of it.
func (l *library) evicted(what, path string, body []byte, fields ...string) {
	l.t.Helper()
	h := l.check(what, path, body, 200, "weir; fwd=miss; fwd-status=200; stored; ttl=", fields...)
	if got := h.Get("Cache-Status"); !strings.HasSuffix(got, "; detail=evicted") {
		l.t.Errorf("%s: Cache-Status %q, want detail=evicted", what, got)
	}
}

// blobs are the files of large bodies, those that are not whole included.
func (l *library) blobs() []string {
	l.t.Helper()
	names, err := filepath.Glob(filepath.Join(l.folder, "*.blob*"))
	if err != nil {
		l.t.Fatal(err)
	}
	return names
}

// settled waits until there are n whole blobs and nothing else.
func (l *library) settled(n int) []string {
	l.t.Helper()
	var names []string
	testkit.Eventually(l.t, fmt.Sprintf("there are %d blobs", n), func() bool {
		names = l.blobs()
		for _, name := range names {
			if !strings.HasSuffix(name, ".blob") {
				return false
			}
		}
		return len(names) == n
	})
	return names
}

const (
	missed = "weir; fwd=uri-miss; fwd-status=200; stored"
	hit    = "weir; hit; ttl="
)

func TestLargeStored(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	l := newLibrary(t)
	const size = 5*mib + 77
	body := large(0, size)
	for _, path := range []string{"/5242957", "/5242957c"} {
		l.check("cold", path, body, 200, missed)
		l.settled(1)
		asked := l.asked.Load()
		for range 2 {
			h := l.check("warm", path, body, 200, hit)
			equal(t, "length", h.Get("Content-Length"), strconv.Itoa(size))
			part := func(name, ranges string, first, last int) {
				t.Helper()
				h := l.check(name, path, body[first:last+1], 206, hit, "Range: bytes="+ranges)
				equal(t, name, h.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", first, last, size))
			}
			part("first byte", "0-0", 0, 0)
			part("start", "0-999", 0, 999)
			part("middle", "3000000-3000009", 3000000, 3000009)
			part("across chunks", "131000-400000", 131000, 400000)
			part("one chunk", "131072-262143", 131072, 262143)
			part("suffix", "-100", size-100, size-1)
			part("to the end", "5000000-", 5000000, size-1)
			part("last byte", "5242956-", size-1, size-1)
			l.check("beyond", path, nil, 416, hit, "Range: bytes=5242957-")
			l.check("If-Range", path, body[:10], 206, hit, "Range: bytes=0-9", `If-Range: "0"`)
			l.check("another If-Range", path, body, 200, hit, "Range: bytes=0-9", `If-Range: "1"`)
			l.check("If-None-Match", path, nil, 304, hit, `If-None-Match: "0"`)
			if s, h, b := l.get("HEAD", path); s != 200 || b != "" || h.Get("Content-Length") != strconv.Itoa(size) {
				t.Errorf("HEAD: %d, %v, %q", s, h, b)
			}
			// Several parts, in another order than they lie.
			_, h, text := l.get("GET", path, "Range: bytes=4000000-4200000,0-1,-3")
			_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			parts := multipart.NewReader(strings.NewReader(text), params["boundary"])
			for _, want := range [][2]int{{4000000, 4200000}, {0, 1}, {size - 3, size - 1}} {
				p, err := parts.NextPart()
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(p)
				if err != nil || !bytes.Equal(b, body[want[0]:want[1]+1]) {
					t.Errorf("part %v: %d bytes, %v", want, len(b), err)
				}
				equal(t, "Content-Range", p.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", want[0], want[1], size))
			}
			if _, err := parts.NextPart(); err != io.EOF {
				t.Errorf("after the parts: %v", err)
			}
			equal(t, "requests", l.asked.Load(), asked)
			l.start(nil) // and all of it again
		}
		// Gone at once, and not back after a restart.
		if _, _, b := l.get("PURGE", path); !strings.Contains(b, "purged") {
			t.Errorf("PURGE: %q", b)
		}
		l.settled(0)
		l.start(nil)
		l.check("purged", path, body, 200, missed)
		l.settled(1)
		l.get("PURGE", path)
		l.start(nil) // before the store had time to remove anything
		l.check("purged before the restart", path, body, 200, missed)
		l.get("PURGE", path)
		l.settled(0)
	}
	// Between what memory takes and what the disk takes, and above.
	l.check("small", "/200000", large(0, 200000), 200, missed)
	l.check("small again", "/200000", large(0, 200000), 200, hit)
	l.check("too large", "/7000000", large(0, 7000000), 200, "weir; fwd=uri-miss; fwd-status=200; detail=too-large")
	l.check("too large, chunked", "/7000000c", large(0, 7000000), 200, missed) // the store did not know how long it is
	l.check("too large, chunked, again", "/7000000c", large(0, 7000000), 200, missed)
	l.settled(0)
}

// TestLargeCollapse: one fetch for all, and the one who reads nothing while it
// runs gets everything all the same, from the disk.
func TestLargeCollapse(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	const size = 6 * mib
	sum := sha256.Sum256(large(0, size))
	middle, goOn := make(chan struct{}, 2), make(chan struct{})
	l.pause(func(*http.Request) {
		middle <- struct{}{}
		<-goOn
	})
	for _, path := range []string{"/6291456", "/a6291456c"} {
		slow := l.dial()
		slow.Send("GET " + path + " HTTP/1.1\r\nHost: cached.example\r\nConnection: close\r\n\r\n")
		receive(t, middle)
		var all sync.WaitGroup
		for range 7 {
			all.Go(func() {
				_, _, b := l.get("GET", path)
				if sha256.Sum256([]byte(b)) != sum {
					t.Errorf("%s: %d bytes of %d", path, len(b), size)
				}
			})
		}
		if strings.HasPrefix(path, "/6") {
			// What has come already can be had as a part; what is far away is
			// asked for from the origin.
			l.check("part", path, large(0, size)[1000:300000], 206, "weir; fwd=miss; collapsed", "Range: bytes=1000-299999")
		}
		goOn <- struct{}{}
		all.Wait()
		l.settled(int(l.asked.Load()))
		m := slow.Response("GET")
		if sha256.Sum256([]byte(m.Body)) != sum {
			t.Errorf("%s: the slow one has %d bytes", path, len(m.Body))
		}
	}
	equal(t, "requests", l.asked.Load(), 2)
}

// TestLargeTruncated: what is cut is not stored, and its file does not stay.
func TestLargeTruncated(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.cut.Store(true)
	for _, path := range []string{"/3000000", "/3000000c"} {
		for range 2 {
			if _, _, b := l.get("GET", path); !strings.HasPrefix(b, "cut: ") {
				t.Errorf("%d bytes", len(b))
			}
			l.settled(0)
		}
	}
	// A client that goes away ends the fetch if it is alone.
	l.cut.Store(false)
	middle, goOn := make(chan struct{}), make(chan struct{})
	l.pause(func(r *http.Request) {
		middle <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-goOn:
		}
	})
	c := l.dial()
	c.Send("GET /6000000 HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	receive(t, middle)
	c.Reset()
	close(goOn)
	testkit.Eventually(t, "the exchange has ended", func() bool { return l.log.len() == 5 })
	l.pause(func(*http.Request) {})
	l.check("after it", "/6000000", large(0, 6000000), 200, "weir; ")
	equal(t, "requests", l.asked.Load() >= 5, true)
}

// TestLargePartLeft: a client that wants a part of what has changed at the origin, and goes
// away, ends the fetch of all of it, as one that wanted all of it does.
func TestLargePartLeft(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.size = "64MiB"
	l.start(nil)
	const path = "/12000000?cc=no-cache"
	l.check("cold", path, large(0, 12000000), 200, missed)
	l.settled(1) // a client has all of a body before that is stored
	l.seed.Store(1)
	ended := make(chan struct{})
	l.pause(func(r *http.Request) {
		<-r.Context().Done()
		close(ended)
	})
	c := l.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.Send("GET " + path + " HTTP/1.1\r\nHost: cached.example\r\nRange: bytes=1-\r\n\r\n")
	equal(t, "status", c.Head("GET").Status(), 206)
	c.Reset()
	receive(t, ended)
	l.pause(func(*http.Request) {})
	l.check("after it", path, large(1, 12000000), 200, "weir; fwd=stale; fwd-status=200; stored")
}

// TestLargeDamaged: what was damaged, cut or removed on the disk never reaches
// a client as something else than it was.
func TestLargeDamaged(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	l := newLibrary(t)
	const size = 1 * mib
	body := large(0, size)
	path := "/1048576"
	change := func(at int64) func(name string) error {
		return func(name string) error {
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			var b [1]byte
			if _, err := f.ReadAt(b[:], at); err != nil {
				return err
			}
			b[0] ^= 1
			_, err = f.WriteAt(b[:], at)
			return err
		}
	}
	check := func(name string, harm func(name string) error, restart bool, want string) {
		t.Helper()
		path = "/a" + path[1:]
		before := l.blobs()
		l.check(name, path, body, 200, missed)
		now := l.settled(len(before) + 1)
		i := slices.IndexFunc(now, func(name string) bool { return !slices.Contains(before, name) })
		if err := harm(now[i]); err != nil {
			t.Fatal(err)
		}
		if restart {
			l.start(nil)
		}
		asked := l.asked.Load()
		_, _, b := l.get("GET", path)
		switch want {
		case "cut":
			if !strings.HasPrefix(b, "cut: ") {
				t.Errorf("%s: %d bytes came", name, len(b))
			}
		case "miss":
			// Without a restart it may be open, and its checksums be known.
			if b != string(body) || restart && l.asked.Load() != asked+1 {
				t.Errorf("%s: %d bytes came, %d requests", name, len(b), l.asked.Load()-asked)
			}
		}
		// In either case the damaged one is forgotten, once it is not open any more, and its file goes.
		testkit.Eventually(t, name+": the file is gone", func() bool {
			l.check(name+": afterwards", path, body, 200, "weir; ")
			return !slices.Contains(l.blobs(), now[i])
		})
		l.settled(len(now))
	}
	for _, restart := range []bool{false, true} {
		check("first chunk", change(5), restart, "miss")
		check("middle", change(size/2), restart, "cut")
		check("last byte", change(size-1), restart, "cut")
		check("checksum of the first chunk", change(size), restart, "miss")
		check("id", change(size+4*size/tier.ChunkSize), restart, "miss")
		check("short", func(name string) error { return os.Truncate(name, size/2) }, restart, "miss")
		check("long", func(name string) error { return os.Truncate(name, 2*size) }, restart, "miss")
		check("missing", os.Remove, restart, "miss")
		check("another in its place", func(name string) error { return os.WriteFile(name, body, 0o600) }, restart, "miss")
	}
	// A part that is not damaged is as good as ever.
	l.get("PURGE", path)
	l.settled(17)
	for _, name := range l.blobs() {
		if err := change(size / 2)(name); err != nil {
			t.Fatal(err)
		}
	}
	path = path[:1] + path[2:]
	l.check("part", path, body[:1000], 206, hit, "Range: bytes=0-999")
	l.evicted("damaged part", path, body, "Range: bytes=600000-600009")

	// Files of others stay; what no record refers to does not.
	others := []string{"notes.txt", "1.blob", "0123456789abcdeg.blob", "ABCDEF0123456789.blob", "x.blob.part"}
	for _, name := range append(others, "0123456789abcdef.blob", "0123456789abcdef.blob.part") {
		if err := os.WriteFile(filepath.Join(l.folder, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(l.folder, "0000000000000000.blob"), 0o700); err != nil {
		t.Fatal(err)
	}
	l.start(nil)
	testkit.Eventually(t, "what is of no use is gone", func() bool { return len(l.blobs()) == 17+len(others) })
	for _, name := range others {
		if b, err := os.ReadFile(filepath.Join(l.folder, name)); err != nil || string(b) != name {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// TestLargeBound: the folder never has more than it may, and what is there is
// the newest.
func TestLargeBound(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	l := newLibrary(t)
	held := func() (n int64) {
		filepath.WalkDir(l.folder, func(path string, d fs.DirEntry, err error) error {
			if info, err := d.Info(); err == nil && !d.IsDir() {
				n += info.Size()
			}
			return nil
		})
		return n
	}
	const size = 3_000_000
	for i := range 24 {
		l.seed.Store(uint64(i))
		l.check("cold", fmt.Sprintf("/%s%d", strings.Repeat("a", i+1), size), large(uint64(i), size), 200, missed)
		if n := held(); n > 24*mib {
			t.Fatalf("%d bytes after %d bodies", n, i+1)
		}
	}
	l.settled(8)
	asked := l.asked.Load()
	for _, restart := range []bool{false, true} {
		if restart {
			l.start(nil)
		}
		for i := 16; i < 24; i++ {
			l.check("newest", fmt.Sprintf("/%s%d", strings.Repeat("a", i+1), size), large(uint64(i), size), 200, hit)
		}
		equal(t, "requests", l.asked.Load(), asked)
	}
	l.check("oldest", "/a3000000", large(23, size), 200, missed)
}

// TestLargeValidated: a 304 makes a body on disk good again, over a restart
// too; a changed one is replaced, and then its file goes.
func TestLargeValidated(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	path := "/3000000?cc=no-cache"
	l.check("cold", path, large(0, 3000000), 200, missed)
	first := l.settled(1)[0]
	for i := range 4 {
		l.check("validated", path, large(0, 3000000), 200, "weir; fwd=stale; fwd-status=304; stored")
		l.check("part", path, large(0, 3000000)[200000:400000], 206, "weir; fwd=stale; fwd-status=304; stored", "Range: bytes=200000-399999")
		equal(t, "answers with 304", l.validated.Load(), int64(2*i+2))
		equal(t, "file", l.settled(1)[0], first)
		if i >= 1 {
			l.start(nil)
		}
	}
	l.seed.Store(7)
	l.check("changed", path, large(7, 3000000), 200, "weir; fwd=")
	testkit.Eventually(t, "the old file is gone", func() bool {
		names := l.blobs()
		return len(names) == 1 && names[0] != first
	})
	l.start(nil)
	l.check("after a restart", path, large(7, 3000000), 200, "weir; fwd=stale; fwd-status=304; stored")
	l.check("cold", "/2000000?cc=max-age=0,stale-if-error=600", large(7, 2000000), 200, missed)
	l.settled(2)
	l.fails.Store(true)
	for range 2 {
		l.check("failed", "/2000000?cc=max-age=0,stale-if-error=600", large(7, 2000000), 200, "weir; fwd=stale; fwd-status=503; detail=stale-if-error")
		l.start(nil)
	}
	l.fails.Store(false)
	l.check("validated", path, large(7, 3000000), 200, "weir; fwd=stale; fwd-status=304; stored")
	l.get("PURGE", "/2000000?cc=max-age=0,stale-if-error=600")
	// Gone between the question and the answer.
	l.settled(1)
	if err := os.Remove(l.blobs()[0]); err != nil {
		t.Fatal(err)
	}
	l.check("lost", path, large(7, 3000000), 200, "weir; fwd=bypass; fwd-status=200; detail=evicted")
	l.check("and fetched again", path, large(7, 3000000), 200, missed)
	// A smaller one takes its place.
	l.settled(1)
	l.get("POST", path)
	l.settled(0)
}

// TestLargePurgedMeanwhile: what is purged while it is fetched reaches the clients that
// read it already, and no others.
func TestLargePurgedMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	purged := make(chan struct{})
	l.pause(func(*http.Request) { <-purged })
	c := l.dial()
	c.Send("GET /3000000 HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	m := c.Head("GET")
	if got := m.Get("Cache-Status"); !strings.HasPrefix(got, missed) {
		t.Errorf("Cache-Status %q, want %q", got, missed)
	}
	l.get("PURGE", "/3000000")
	close(purged)
	if err := m.ReadBody(c.Reader); err != nil || m.Body != string(large(0, 3000000)) {
		t.Errorf("%d bytes, %v", len(m.Body), err)
	}
	l.settled(0)
	l.pause(func(*http.Request) {})
	l.check("again", "/3000000", large(0, 3000000), 200, missed)
	l.settled(1)
}

// brokenDisk fails in its blobs.
type brokenDisk struct {
	tier.Tier
	// append is called for each chunk, with its number.
	append func(i int) error
	// unreadable says that nothing can be read either, crowded that no file can
	// be opened.
	unreadable, crowded atomic.Bool
}

func (b *brokenDisk) Blobs() tier.Blobs { return brokenBlobs{b.Tier.Blobs(), b} }

func (b *brokenDisk) Set(key, value []byte, body tier.Blob, ttl time.Duration) error {
	if broken, ok := body.(*brokenBlob); ok {
		body = broken.Blob
	}
	return b.Tier.Set(key, value, body, ttl)
}

func (b *brokenDisk) Get(key []byte) ([]byte, tier.Blob, error) {
	value, body, err := b.Tier.Get(key)
	if body != nil {
		body = &brokenBlob{Blob: body, disk: b, n: 1}
	}
	return value, body, err
}

type brokenBlobs struct {
	tier.Blobs
	disk *brokenDisk
}

func (b brokenBlobs) Create() (tier.Blob, error) {
	blob, err := b.Blobs.Create()
	return &brokenBlob{Blob: blob, disk: b.disk}, err
}

type brokenBlob struct {
	tier.Blob
	disk *brokenDisk
	n    int
}

func (b *brokenBlob) Append(p []byte) error {
	b.n++
	if err := b.disk.append(b.n); err != nil {
		return err
	}
	if b.n == 1 && b.disk.crowded.Load() {
		return errCrowded
	}
	return b.Blob.Append(p)
}

func (b *brokenBlob) Open() error {
	if b.n == 0 || !b.disk.crowded.Load() {
		return b.Blob.Open()
	}
	return errCrowded
}

var errCrowded = &fs.PathError{Op: "open", Path: "blob", Err: syscall.EMFILE}

func (b *brokenBlob) Read(buf []byte, offset int64) ([]byte, error) {
	if b.disk.unreadable.Load() {
		return nil, errors.New("cannot read")
	}
	return b.Blob.Read(buf, offset)
}

// TestLargeDiskFails: every client gets its answer although the disk is full, broken or
// hangs.
func TestLargeDiskFails(t *testing.T) {
	testkit.Slow(t)
	t.Parallel()
	l := newLibrary(t)
	hangs := make(chan struct{})
	check := func(name string, failed func(i int) error, path string) {
		t.Helper()
		l.start(func(t tier.Tier) tier.Tier { return &brokenDisk{Tier: t, append: failed} })
		asked := l.asked.Load()
		slow := l.dial()
		slow.Send("GET " + path + " HTTP/1.1\r\nHost: cached.example\r\nConnection: close\r\n\r\n")
		m := slow.Head("GET")
		equal(t, name, m.Get("Cache-Status")[:len(missed)], missed)
		b, end := slow.Rest()
		if n, err := testkitBody(m, b); err != nil || !bytes.Equal(n, large(0, 6000000)) {
			t.Errorf("%s: %d bytes, %v, %v", name, len(n), err, end)
		}
		testkit.Eventually(t, "the reason is counted", func() bool {
			return strings.Contains(l.metrics(), `weir_cache_unstored_total{route="route-1",reason="disk"} 1`)
		})
		l.check(name+", again", path, large(0, 6000000), 200, missed)
		equal(t, name+": requests", l.asked.Load(), asked+2)
	}
	for _, path := range []string{"/6000000", "/6000000c"} {
		check("fails at once", func(int) error { return errors.New("broken") }, path)
		l.settled(0)
		check("fails in the middle", func(i int) error {
			if i > 30 {
				return errors.New("no space left on device")
			}
			return nil
		}, path)
		l.settled(0)
	}
	check("hangs", func(i int) error {
		if i > 10 {
			<-hangs
		}
		return nil
	}, "/6000000")
	close(hangs)
	l.settled(0)

	// A reader that has only the disk to read from is cut if that cannot be
	// read: it never gets anything else.
	l.size = "64MiB"
	broken := &brokenDisk{append: func(int) error { return nil }}
	l.start(func(t tier.Tier) tier.Tier {
		broken.Tier = t
		return broken
	})
	slow := l.dial()
	slow.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	slow.Send("GET /12000000 HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	m := slow.Head("GET")
	l.settled(1) // all has come but to this client
	broken.unreadable.Store(true)
	b, _ := slow.Rest()
	if got, err := testkitBody(m, b); err == nil || !bytes.HasPrefix(large(0, 12000000), got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestLargeLeftWhileDiskHangs: what waits for the disk ends with its last reader,
// and nothing of it stays in memory.
func TestLargeLeftWhileDiskHangs(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	l.size = "64MiB"
	hangs := make(chan struct{})
	l.start(func(t tier.Tier) tier.Tier {
		return &brokenDisk{Tier: t, append: func(i int) error {
			if i > 3 {
				<-hangs
			}
			return nil
		}}
	})
	c := l.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	c.Send("GET /12000000 HTTP/1.1\r\nHost: cached.example\r\n\r\n")
	equal(t, "status", c.Head("GET").Status(), 200)
	filling := func() int {
		n, err := strconv.Atoi(l.metric("weir_cache_filling_bytes"))
		if err != nil {
			t.Error(err)
		}
		return n
	}
	last := 0
	testkit.Eventually(t, "the disk is waited for", func() bool {
		before := last
		last = filling()
		return last > 2*mib && last == before
	})
	c.Reset()
	equal(t, "log", l.ended(), "200 client_gone")
	testkit.Eventually(t, "nothing is being fetched", func() bool { return filling() == 0 })
	close(hangs)
	l.settled(0)
}

// TestLargeCrowded: what cannot be opened for want of descriptors is a miss for
// now, and not lost.
func TestLargeCrowded(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	broken := &brokenDisk{append: func(int) error { return nil }}
	l.start(func(t tier.Tier) tier.Tier {
		broken.Tier = t
		return broken
	})
	const path = "/3000000"
	body := large(0, 3000000)
	l.check("cold", path, body, 200, missed)
	names := l.settled(1)
	l.check("warm", path, body, 200, hit)
	broken.crowded.Store(true)
	l.evicted("crowded", path, body)
	l.evicted("range", path, body, "Range: bytes=5-9")
	broken.crowded.Store(false)
	l.check("again", path, body, 200, hit)
	equal(t, "requests", l.asked.Load(), 3)
	if now := l.settled(1); now[0] != names[0] {
		t.Errorf("the file is %s, was %s", now[0], names[0])
	}
	if n := l.metric(`weir_cache_tier_total{tier="disk",result="damaged"}`); n != "0" {
		t.Errorf("%s are damaged", n)
	}
}

// testkitBody reads the body of a message whose rest was read.
func testkitBody(m *testkit.Message, rest string) ([]byte, error) {
	if m.Has("Content-Length") {
		n, err := strconv.Atoi(m.Get("Content-Length"))
		if err == nil && n != len(rest) {
			err = io.ErrUnexpectedEOF
		}
		return []byte(rest), err
	}
	r, err := http.ReadResponse(bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+rest)), nil)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r.Body)
}

// TestLargeMixed: whatever is fetched, read, validated, purged and pushed out
// at the same time, every answer is what was asked for, and whole.
func TestLargeMixed(t *testing.T) {
	// Not parallel: the disk must not seem slow.
	l := newLibrary(t)
	l.size = "8MiB"
	l.start(nil)
	const size = 500_000
	var bodies [24][]byte // half as much again as there is room for
	for i := range bodies {
		bodies[i] = large(uint64(i), size)
	}
	var all sync.WaitGroup
	for worker := range 6 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(worker)))
			for range testkit.Rounds(10, 30) {
				i := min(r.IntN(24), r.IntN(24))
				path := fmt.Sprintf("/%d%s?seed=%d&cc=%s", size, []string{"", "c"}[r.IntN(2)], i, []string{"max-age=60", "no-cache"}[r.IntN(2)])
				switch r.IntN(12) {
				case 0:
					l.get("PURGE", path)
				case 1, 2, 3:
					first := r.IntN(size)
					last := first + r.IntN(size-first)
					s, _, b := l.get("GET", path, fmt.Sprintf("Range: bytes=%d-%d", first, last))
					// The origin knows no ranges.
					if !(s == 206 && b == string(bodies[i][first:last+1]) || s == 200 && b == string(bodies[i])) {
						t.Errorf("%d-%d of %d: status %d, %d bytes %.60q", first, last, i, s, len(b), b)
					}
				default:
					if s, _, b := l.get("GET", path); s != 200 || b != string(bodies[i]) {
						t.Errorf("%d: status %d, %d bytes %.60q", i, s, len(b), b)
					}
				}
			}
		})
	}
	all.Wait()
	m := l.metrics()
	for _, want := range []string{`weir_cache_tier_total{tier="disk",result="error"} 0`, `weir_cache_tier_total{tier="disk",result="damaged"} 0`} {
		if !strings.Contains(m, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	testkit.Eventually(t, "nothing is being fetched", func() bool { return strings.Contains(l.metrics(), "weir_cache_filling_bytes 0\n") })
}

// TestLargeLeavesNothing: neither descriptors nor goroutines.
func TestLargeLeavesNothing(t *testing.T) {
	l := newLibrary(t)
	open := func() (n int) {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		for _, e := range names {
			if target, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(target, ".blob") {
				n++
			}
		}
		return n
	}
	l.check("cold", "/3000000", large(0, 3000000), 200, missed)
	l.settled(1)
	before := runtime.NumGoroutine()
	for i := range 10 {
		c := l.dial()
		c.Send("GET /3000000 HTTP/1.1\r\nHost: cached.example\r\n\r\n")
		c.Head("GET")
		if i%2 == 0 {
			c.Reset()
		} else {
			c.Take(3000000)
		}
		c.Close()
	}
	for i := range 5 {
		l.check("cold", fmt.Sprintf("/%s3000000c", strings.Repeat("b", i+1)), large(0, 3000000), 200, missed)
	}
	l.get("PURGE", "/3000000")
	l.settled(5)
	testkit.Eventually(t, "all is closed", func() bool { return open() == 0 && runtime.NumGoroutine() <= before+3 })
}
