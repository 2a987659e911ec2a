package head_test

import (
	"strings"
	"testing"

	"weir/internal/head"
)

// Every name is found in every case of its letters, and is what its variable says.
func TestLookup(t *testing.T) {
	check := func(text string, n head.Name) {
		t.Helper()
		for _, spelled := range []string{text, strings.ToLower(text), strings.ToUpper(text), swapCase(text)} {
			if got := head.Lookup([]byte(spelled)); got != head.SetOf(n) || got == 0 {
				t.Errorf("Lookup(%q) is %x, want %x", spelled, got, head.SetOf(n))
			}
			if o := head.NewName(spelled); !o.Is(n) || !n.Is(o) || o.String() != spelled {
				t.Errorf("NewName(%q) is not %s", spelled, n)
			}
		}
		if n.String() != text {
			t.Errorf("%s is written %q", text, n)
		}
	}
	// Fields that end at the next hop.
	check("Connection", head.Connection)
	check("Keep-Alive", head.KeepAlive)
	check("Proxy-Connection", head.ProxyConnection)
	check("TE", head.TE)
	check("Trailer", head.Trailer)
	check("Transfer-Encoding", head.TransferEncoding)
	check("Upgrade", head.Upgrade)
	check("HTTP2-Settings", head.HTTP2Settings)
	check("Proxy-Authenticate", head.ProxyAuthenticate)
	check("Proxy-Authorization", head.ProxyAuthorization)
	check("Proxy-Authentication-Info", head.ProxyAuthenticationInfo)
	// Framing and target.
	check("Expect", head.Expect)
	check("Content-Length", head.ContentLength)
	check("Host", head.Host)
	// Who the client was.
	check("Forwarded", head.Forwarded)
	check("X-Forwarded-For", head.XForwardedFor)
	check("X-Forwarded-Proto", head.XForwardedProto)
	check("X-Forwarded-Host", head.XForwardedHost)
	check("X-Real-IP", head.XRealIP)
	check("Via", head.Via)
	check("X-Request-Id", head.RequestID)
	check("User-Agent", head.UserAgent)
	check("Referer", head.Referer)
	check("Origin", head.Origin)
	check("Cookie", head.Cookie)
	check("Authorization", head.Authorization)
	check("Idempotency-Key", head.IdempotencyKey)
	// Caching.
	check("Date", head.Date)
	check("Set-Cookie", head.SetCookie)
	check("Cache-Control", head.CacheControl)
	check("Cache-Status", head.CacheStatus)
	check("Pragma", head.Pragma)
	check("Age", head.Age)
	check("Expires", head.Expires)
	check("Vary", head.Vary)
	check("ETag", head.ETag)
	check("Last-Modified", head.LastModified)
	check("If-Match", head.IfMatch)
	check("If-None-Match", head.IfNoneMatch)
	check("If-Modified-Since", head.IfModifiedSince)
	check("If-Unmodified-Since", head.IfUnmodifiedSince)
	check("If-Range", head.IfRange)
	check("Range", head.Range)
	// Content.
	check("Content-Type", head.ContentType)
	check("Content-Encoding", head.ContentEncoding)
	check("Content-Range", head.ContentRange)
	check("Content-Location", head.ContentLocation)
	check("Location", head.Location)
	check("Retry-After", head.RetryAfter)
	check("Accept-Encoding", head.AcceptEncoding)
}

// swapCase makes every second letter a capital.
func swapCase(s string) string {
	b := []byte(strings.ToLower(s))
	for i := 0; i < len(b); i += 2 {
		if 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 0x20
		}
	}
	return string(b)
}

// Names without a variable are in no set, although the length or the start fits, and are
// compared by their text.
func TestOtherNames(t *testing.T) {
	check := func(text string) {
		t.Helper()
		for _, spelled := range []string{text, strings.ToLower(text), strings.ToUpper(text)} {
			if got := head.Lookup([]byte(spelled)); got != 0 {
				t.Errorf("Lookup(%q) is %x, want 0", spelled, got)
			}
			if !head.NewName(spelled).Is(head.NewName(text)) || head.NewName(spelled).Is(head.NewName(text+"x")) {
				t.Errorf("%q is not the name %q alone", spelled, text)
			}
		}
	}
	check("")
	check("T")
	check("Accept")
	check("Connectiom")
	check("X-Forwarded-")
	check("X-Forwardedness")
	check("Content-Lengths")
	check("Hosts")
	check("Dates")
	check("X-Request-Ix")
	check(strings.Repeat("x", 300))
	// A byte that folds onto a letter by setting one bit is not that letter.
	for _, name := range []string{"te\x00", "T\x05", "H\x0fst", "\x48ost\x20", "A\x27e"} {
		if got := head.Lookup([]byte(name)); got != 0 {
			t.Errorf("Lookup(%q) is %x, want 0", name, got)
		}
	}
}

// All names that begin with X-Forwarded- are in one set, and are fields of their own.
func TestForwardedFamily(t *testing.T) {
	port, user := head.NewName("X-Forwarded-Port"), head.NewName("x-forwarded-user")
	for _, n := range []head.Name{port, user, head.XForwardedFor, head.XForwardedProto, head.XForwardedHost, head.XRealIP} {
		if !n.In(head.AllXForwarded) {
			t.Errorf("%s is not in AllXForwarded", n)
		}
	}
	if port.Is(user) || !port.Is(head.NewName("X-FORWARDED-PORT")) || port.Is(head.XForwardedFor) {
		t.Error("X-Forwarded-Port is taken for another name, or not for itself")
	}
	if head.Forwarded.In(head.AllXForwarded) || head.Via.In(head.AllXForwarded) {
		t.Error("Forwarded or Via is in AllXForwarded")
	}
	h := scanned(t, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Port: 1\r\nX-FORWARDED-user: 2\r\n\r\n")
	if got := string(h.Get(user)); got != "2" {
		t.Errorf("X-Forwarded-User is %q", got)
	}
	h.Del(port)
	if !h.Has(head.AllXForwarded) || h.Get(port) != nil || string(h.Get(user)) != "2" {
		t.Errorf("without X-Forwarded-Port the fields are %q", linesOf(h))
	}
	h.Del(user)
	if h.Has(head.AllXForwarded) {
		t.Error("both were removed, and one is said to be present")
	}
}
