package server_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestCacheParts has a real file server behind weir: 206 answers of it answer
// later ranges, and all of them together the whole.
func TestCacheParts(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("0123456789abcdef", 64<<10/16)
	var asked atomic.Int64
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		rw.Header().Set("ETag", `"v"`)
		rw.Header().Set("Cache-Control", "max-age=60")
		rw.Header().Set("Content-Type", "text/plain")
		http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader([]byte(body)))
	}), "")
	check := func(what, span string, wantAsked int64, wantStatus int, wantBody, wantCache string) {
		t.Helper()
		var fields []string
		if span != "" {
			fields = append(fields, "Range: bytes="+span)
		}
		status, h, got := w.get("GET", "/", fields...)
		if status != wantStatus || got != wantBody {
			t.Errorf("%s: %d and %d bytes, want %d and %d", what, status, len(got), wantStatus, len(wantBody))
		}
		if n := asked.Load(); n != wantAsked {
			t.Errorf("%s: the origin was asked %d times, want %d", what, n, wantAsked)
		}
		if s := h.Get("Cache-Status"); !strings.Contains(s, wantCache) {
			t.Errorf("%s: Cache-Status %q, want %q", what, s, wantCache)
		}
	}
	check("a part is fetched", "0-16383", 1, 206, body[:16384], "fwd=uri-miss; fwd-status=206; stored")
	check("and answers", "0-16383", 1, 206, body[:16384], "hit")
	check("what lies inside of it too", "100-199", 1, 206, body[100:200], "hit")
	check("another is fetched", "32768-", 2, 206, body[32768:], "fwd=partial; fwd-status=206; stored")
	check("and answers", "-5", 2, 206, body[len(body)-5:], "hit")
	check("over the gap the origin answers", "16000-40000", 3, 206, body[16000:40001], "fwd=partial; fwd-status=206; stored")
	check("nothing is missing now", "", 3, 200, body, "hit")
}

// TestCachePartPurgedMeanwhile: a part that was being fetched when its resource
// was purged is not stored.
func TestCachePartPurgedMeanwhile(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan bool, 1), make(chan bool)
	var asked atomic.Int64
	w := cached(t, cachedOrigin(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", `"v"`)
		rw.Header().Set("Cache-Control", "max-age=60")
		if asked.Add(1) == 1 {
			arrived <- true
			<-release
		}
		http.ServeContent(rw, r, "", time.Time{}, strings.NewReader("0123456789"))
	}), "")
	done := make(chan string)
	go func() {
		_, h, body := w.get("GET", "/", "Range: bytes=2-4")
		done <- body + " " + h.Get("Cache-Status")
	}()
	<-arrived
	if status, _, _ := w.get("PURGE", "/"); status != 200 {
		t.Errorf("PURGE: %d", status)
	}
	close(release)
	if got := <-done; !strings.HasPrefix(got, "234 ") {
		t.Errorf("the one who asked got %q", got)
	}
	if status, _, body := w.get("GET", "/", "Range: bytes=2-4"); status != 206 || body != "234" || asked.Load() != 2 {
		t.Errorf("afterwards %d, %q, the origin was asked %d times", status, body, asked.Load())
	}
}
