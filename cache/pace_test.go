package cache_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/cache"
	"weir/cache/rule"
)

// wait lets one more exchange wait for f, and returns what it came to and the time that
// this took.
func wait(t *testing.T, c *crowd, line string, fields rule.Fields, f *cache.Fetch) (role cache.Role, reason rule.Reason, took time.Duration) {
	d := &driver{store: c.d.store, policy: c.d.policy, now: time.Now()}
	q := d.request(t, line, fields, "")
	found := c.d.store.Lookup(q)
	start := time.Now()
	role, reason, err := f.Wait(q, &found, nil)
	if err != nil && role != cache.Alone {
		t.Errorf("%s: %v", line, err)
	}
	if role == cache.Ready {
		var r result
		d.reply(t, &r, q, &found)
		if r.err != nil {
			t.Errorf("%s: %v", line, r.err)
		}
	}
	return role, reason, time.Since(start)
}

// TestUnclear: no client begins to read a body of unknown length that only memory can take
// before it is whole, so that no client depends on the pace of another reader.
func TestUnclear(t *testing.T) {
	const get = "GET http://h/x"
	const tagged = "Cache-Control: max-age=60\r\nETag: \"a\"\r\n"
	check := func(name, line string, fields rule.Fields, r *rule.Response, rest func(f *cache.Fetch), role cache.Role, reason rule.Reason, took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, nil)
			f := newFill(t, c, "http://h/x")
			f.Respond(nil, r)
			f.Write([]byte("some"))
			go rest(f)
			gotRole, gotReason, gotTook := wait(t, c, line, fields, f)
			if gotRole != role || gotReason != reason || gotTook != took {
				t.Errorf("%s: role %v, reason %q after %v; want %v, %q after %v", name, gotRole, gotReason, gotTook, role, reason, took)
			}
			time.Sleep(time.Minute) // for what rest does
			f.Abort(io.ErrUnexpectedEOF)
		})
	}
	whole := func(f *cache.Fetch) {
		time.Sleep(3 * time.Second)
		f.Commit()
	}
	check("whole", get, nil, response(200, tagged), whole, cache.Ready, rule.ReasonNone, 3*time.Second)
	check("too large", get, nil, response(200, tagged), func(f *cache.Fetch) {
		r := f.Reader()
		defer r.Close()
		time.Sleep(3 * time.Second)
		for range 9 {
			f.Write(make([]byte, 1<<20))
		}
	}, cache.Alone, rule.ReasonTooLarge, 3*time.Second)
	check("breaks off", get, nil, response(200, tagged), func(f *cache.Fetch) {
		time.Sleep(3 * time.Second)
		f.Abort(cache.ErrAborted)
	}, cache.Alone, rule.ReasonFailed, 3*time.Second)
	check("takes long", get, nil, response(200, tagged), func(*cache.Fetch) {}, cache.Alone, rule.ReasonWait, 10*time.Second)
	check("another variant", get, rule.Fields("Foo: b\r\n"), response(200, tagged+"Vary: Foo\r\n"), whole, cache.Retry, rule.ReasonVaryMiss, 0)
	// These need no body.
	check("head", "HEAD http://h/x", nil, response(200, tagged), whole, cache.Ready, rule.ReasonNone, 0)
	check("has it", get, rule.Fields("If-None-Match: \"a\"\r\n"), response(200, tagged), whole, cache.Ready, rule.ReasonNone, 0)
}

// TestPromised: memory for bodies of known length is set aside when they begin, so that none
// of them must do without it once it is shared.
func TestPromised(t *testing.T) {
	c := newCrowd(t, nil) // 64 MiB, half of which is for what is fetched
	const size = 8 << 20
	var list []*cache.Fetch
	for _, name := range []string{"a", "b", "c", "d"} {
		f := newFill(t, c, "http://h/"+name)
		if d := f.Respond(nil, sized(size, "Cache-Control: max-age=60\r\n")); d.Action != cache.Keep {
			t.Fatalf("%s: %v, %v", name, d.Action, d.Reason)
		}
		list = append(list, f)
	}
	late := newFill(t, c, "http://h/e")
	if d := late.Respond(nil, sized(size, "Cache-Control: max-age=60\r\n")); d.Action != cache.Pass || d.Reason != rule.ReasonMemory {
		t.Errorf("one too many: %v, %v", d.Action, d.Reason)
	}
	piece := []byte(strings.Repeat("x", size/8))
	for _, f := range list {
		for range 8 {
			f.Write(piece)
		}
		if reason := f.Commit(); reason != rule.ReasonNone {
			t.Errorf("not stored: %v", reason)
		}
	}
	if s := c.d.store.Stats(); s.Filling != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// TestUnwanted: a fetch whose clients have left goes on if little is missing.
func TestUnwanted(t *testing.T) {
	check := func(name string, r *rule.Response, had int, finish int64, more int, ended bool) {
		t.Helper()
		c := newCrowd(t, nil)
		f := newFill(t, c, "http://h/x")
		f.Respond(nil, r)
		f.Write(make([]byte, had))
		got, _ := f.Unwanted(finish)
		if !got && more > 0 {
			f.Write(make([]byte, more))
			got, _ = f.Unwanted(finish)
		}
		if got != ended {
			t.Errorf("%s: ended %v", name, got)
		}
		f.Abort(cache.ErrAborted)
	}
	known := func() *rule.Response { return sized(1000, "Cache-Control: max-age=60\r\n") }
	unknown := func() *rule.Response { return response(200, "Cache-Control: max-age=60\r\n") }
	check("little is missing", known(), 900, 100, 0, false)
	check("much is missing", known(), 899, 100, 0, true)
	check("never", known(), 999, 0, 0, true)
	check("unknown length", unknown(), 5000, 100, 100, false)
	check("unknown length, and more than that came", unknown(), 5000, 100, 101, true)
	check("unknown length, never", unknown(), 5000, 0, 0, true)
}
