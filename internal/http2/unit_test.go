package http2

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What is not understood of a priority says nothing (RFC 9218 section 4).
func TestParsePriority(t *testing.T) {
	check := func(value string, want priority) {
		t.Helper()
		if got := parsePriority([]byte(value)); got != want {
			t.Errorf("%q is %+v, want %+v", value, got, want)
		}
	}
	check("", priority{0, sharingWhole})
	check("u=0", priority{3, sharingWhole})
	check("u=7, i", priority{-4, sharingIncremental})
	check("i, u=5", priority{-2, sharingIncremental})
	check("i=?0", priority{0, sharingWhole})
	check("u=8", priority{0, sharingWhole})
	check("u=-1, x=y", priority{0, sharingWhole})
	check("u=1.5", priority{0, sharingWhole})
	check("u=1,,", priority{})
	check("\x00", priority{})
}

// The most urgent streams are chosen first; those that want to be whole go one after the other,
// the others take turns, and none without a window is chosen.
func TestChoose(t *testing.T) {
	check := func(what, want string, window int64, list ...*stream) {
		t.Helper()
		c := &conn{}
		c.output.init()
		c.window, c.sending = window, list
		var got []string
		for range 6 {
			if s := c.choose(); s != nil {
				got = append(got, fmt.Sprint(s.id))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	s := func(id uint32, before int8, mode sharing) *stream {
		return &stream{id: id, priority: priority{before, mode}, window: 1}
	}
	check("none", "", 1)
	check("no window of the connection", "", 0, s(1, 0, sharingUnsaid))
	check("nothing said", "1 3 5 1 3 5", 1, s(1, 0, sharingUnsaid), s(3, 0, sharingUnsaid), s(5, 0, sharingUnsaid))
	check("urgent", "3 3 3 3 3 3", 1, s(1, 0, sharingUnsaid), s(3, 1, sharingUnsaid), s(5, -1, sharingUnsaid))
	check("whole", "1 1 1 1 1 1", 1, s(5, 0, sharingWhole), s(1, 0, sharingWhole), s(3, 0, sharingWhole))
	check("incremental", "1 3 1 3 1 3", 1, s(1, 0, sharingIncremental), s(3, 0, sharingIncremental))
	blocked := s(1, 3, sharingWhole)
	blocked.window = 0
	check("no window of the stream", "3 3 3 3 3 3", 1, blocked, s(3, 0, sharingUnsaid))
}

// A stream that sends much at once keeps back those that it outranks while its next bytes are on their
// way, and one of small pieces does not.
func TestRefills(t *testing.T) {
	check := func(what string, size int, want bool) {
		t.Helper()
		var c conn
		urgent, other := &stream{c: &c, id: 1, priority: priority{3, sharingIncremental}}, &stream{c: &c, id: 3}
		urgent.writable.L = &c.mu
		c.queue(other, make([]byte, 100))
		c.queue(urgent, make([]byte, size))
		c.unqueue(urgent)
		urgent.taken()
		if got := len(c.refilling) > 0; got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("much", 16<<10, true)
	check("an event", 100, false)
}

// A client is crowded as long as enough answers wait for it.
func TestCrowd(t *testing.T) {
	var c conn
	var list []*stream
	check := func(want bool) {
		t.Helper()
		if got := c.crowded.Load(); got != want {
			t.Errorf("with %d answers that wait: %v, want %v", len(c.sending), got, want)
		}
	}
	for len(list) < 2*crowd {
		check(len(list) >= crowd)
		s := &stream{id: uint32(2*len(list) + 1)}
		list = append(list, s)
		c.queue(s, []byte("x"))
	}
	for _, s := range list {
		check(len(c.sending) >= crowd)
		c.unqueue(s)
		c.unqueue(s) // a stream that does not wait changes nothing
	}
	check(false)
}

// Resets are bounded by a rate, beyond those of streams that were answered.
func TestResetBound(t *testing.T) {
	var b bounds
	now := time.Now()
	b.init(now)
	for i := range maxResets {
		if err := b.reset(now); err != nil {
			t.Fatalf("reset %d: %v", i, err)
		}
	}
	b.answered()
	if b.reset(now) != nil || b.reset(now) == nil {
		t.Error("an answer allows one reset")
	}
	if b.reset(now.Add(time.Second)) != nil {
		t.Error("time allows none")
	}
}

// A client that asks by PING every ten seconds whether weir is there, as those of gRPC do, may do so for any time.
func TestIdleBound(t *testing.T) {
	var b bounds
	now := time.Now()
	b.init(now)
	for i := range 10_000 {
		now = now.Add(10 * time.Second)
		if err := b.idleFrame(now); err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
	}
}

// A drain ends the goroutines that wait, and what looks at them later finds none.
func TestWorkersTrimAfterClose(t *testing.T) {
	t.Parallel()
	var w workers
	for range 3 {
		w.rest(make(chan *stream, 1))
	}
	w.trim() // least is 3 now
	w.close()
	w.trim()
	if len(w.idle) != 0 || w.rest(make(chan *stream, 1)) {
		t.Errorf("%d goroutines wait after the end", len(w.idle))
	}
}
