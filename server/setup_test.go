package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// weir is a server under test.
type weir struct {
	*server.Server
	t    testing.TB
	addr net.Addr
	log  *accessLog
	// secure is how its clients speak TLS; nil: they do not.
	secure *tls.Config
}

// run starts weir with a configuration in TOML, formatted as by Sprintf. One
// without listeners gets a plain one; the first one must be called "main".
func run(t testing.TB, format string, args ...any) *weir {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	if !strings.Contains(text, "[[listeners]]") {
		text = "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n" + text
	}
	cfg, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	w := &weir{t: t, log: &accessLog{}}
	if w.Server, err = server.New(cfg, server.WithAccessLogWriter(w.log), server.WithSlowTurn(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	w.addr = w.Addr("main")
	return w
}

// through starts weir in front of an origin, with the defaults of everything.
func through(t testing.TB, origin *testkit.Origin) *weir {
	t.Helper()
	return run(t, `
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = [%q]
`, origin.URL)
}

// secured is through with TLS for clients.
func secured(t testing.TB, origin *testkit.Origin) *weir {
	t.Helper()
	authority := testkit.NewAuthority(t)
	w := run(t, "%s%s", secureListener(authority.Issue("127.0.0.1"), ""), toOrigin(origin.URL))
	w.secure = tlsClient(authority)
	return w
}

// dial connects a client.
func (w *weir) dial() *testkit.Client {
	w.t.Helper()
	if w.secure != nil {
		return testkit.DialTLS(w.t, w.addr, w.secure)
	}
	return testkit.Dial(w.t, w.addr)
}

// entry is a line of the access log.
type entry struct {
	Method      string  `json:"method"`
	Target      string  `json:"request_target"`
	Client      string  `json:"client"`
	Peer        string  `json:"peer"`
	Scheme      string  `json:"scheme"`
	Host        string  `json:"host"`
	ID          string  `json:"request_id"`
	Status      int     `json:"status"`
	Cause       string  `json:"cause"`
	Error       string  `json:"error"`
	User        string  `json:"auth_user"`
	Upstream    string  `json:"upstream"`
	SNI         string  `json:"sni"`
	Subject     string  `json:"client_subject"`
	Fingerprint string  `json:"client_fingerprint"`
	Attempts    int     `json:"attempts"`
	BytesIn     int64   `json:"bytes_in"`
	BytesOut    int64   `json:"bytes_out"`
	Duration    float64 `json:"duration"`
}

// String is what tests compare.
func (e entry) String() string { return fmt.Sprintf("%d %s", e.Status, e.Cause) }

// accessLog keeps the lines of the access log.
type accessLog struct {
	mu      sync.Mutex
	partial []byte
	entries []entry
}

func (l *accessLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, ok := bytes.Cut(l.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			panic(fmt.Sprintf("line %q: %v", line, err))
		}
		l.entries = append(l.entries, e)
		l.partial = append([]byte(nil), rest...)
	}
}

func (l *accessLog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

// logged waits until the access log has n lines and returns them.
func (w *weir) logged(n int) []entry {
	w.t.Helper()
	var got []entry
	testkit.Eventually(w.t, fmt.Sprintf("the access log has %d lines", n), func() bool {
		w.Reopen() // lines do not wait for others
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		got = append(got[:0], w.log.entries...)
		return len(got) >= n
	})
	if len(got) > n {
		w.t.Fatalf("access log has %d lines, want %d: %v", len(got), n, got)
	}
	return got
}

// ended waits for the only line of the access log.
func (w *weir) ended() string {
	w.t.Helper()
	return w.logged(1)[0].String()
}

// receive returns the next value of ch, or the zero value once it is closed.
func receive[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	timer := time.NewTimer(testkit.Limit)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatal("in vain waited for the other side")
	}
	panic("BUG: not reached")
}

// after is closed after so many milliseconds. It paces what must be slow and
// never stands for "by then it must have happened".
func after(milliseconds int) <-chan struct{} {
	ch := make(chan struct{})
	time.AfterFunc(time.Duration(milliseconds)*time.Millisecond, func() { close(ch) })
	return ch
}

// equal fails the test if got is not want.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %.400q, want %.400q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}
