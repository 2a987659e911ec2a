package head_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"weir/internal/head"
	"weir/internal/testkit"
)

// textual are the defects that only the text of a head can have.
var textual = []error{
	head.ErrShort, head.DefectBareLF, head.DefectRequestLine, head.DefectVersion, head.DefectEmptyLines, head.DefectFold, head.DefectNoColon,
}

// fill makes a head of the parts of a text as a front end without text would.
func fill(h *head.Head, text string) error {
	text, _, _ = strings.Cut(strings.TrimLeft(text, "\r\n"), "\r\n\r\n")
	first, lines, _ := strings.Cut(text, "\r\n")
	part := strings.Split(first, " ")
	version := head.HTTP11
	if part[len(part)-1] == "HTTP/1.0" {
		version = head.HTTP10
	}
	h.StartRequest(version, []byte(part[0]), []byte(part[1]))
	for line := range strings.SplitSeq(lines, "\r\n") {
		if line == "" {
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		if err := h.Fill([]byte(name), []byte(value)); err != nil {
			return err
		}
	}
	return h.FinishRequest()
}

// The corpus of what weir refuses: a scan refuses it too, for a cause that the client is
// told by the same status, and a head that is filled with the same fields gets the same verdict.
func TestStrictCorpus(t *testing.T) {
	for _, c := range testkit.StrictCases(t, "../../server/testdata/strict.txt") {
		var h, filled head.Head
		err := h.ScanRequest([]byte(c.Send))
		var d *head.Defect
		switch later := c.Cause == "bad_path" || strings.Contains(c.Name, "trailer") && !strings.HasPrefix(c.Name, "announced"); {
		case c.Status == 200 || later:
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
		case !errors.As(err, &d) || d.Status != c.Status:
			t.Errorf("%s: %v, want a defect of status %d", c.Name, err, c.Status)
		}
		for _, want := range c.Want {
			if name, _, _ := strings.Cut(want, ":"); head.NewName(name).In(head.Framing) {
				continue // the sender of the body writes these lines
			}
			if out := "\r\n" + string(h.AppendTo(nil)); !strings.Contains(out, "\r\n"+want+"\r\n") {
				t.Errorf("%s: without %q in %q", c.Name, want, out)
			}
		}
		if slices.Contains(textual, err) {
			continue
		}
		if got := fill(&filled, c.Send); got != err {
			t.Errorf("%s: filled is %v, scanned %v", c.Name, got, err)
		} else if err == nil {
			sameMessage(t, c.Name, &h, &filled)
		}
	}
}

// sameMessage compares all that does not depend on how a head came.
func sameMessage(t testing.TB, name string, a, b *head.Head) {
	t.Helper()
	if string(a.Method()) != string(b.Method()) || string(a.Target()) != string(b.Target()) || a.Length != b.Length ||
		a.Present() != b.Present() || a.Repeated() != b.Repeated() || !slices.Equal(linesOf(a), linesOf(b)) {
		t.Errorf("%s: %s and %s", name, describe(a), describe(b))
	}
}

// What text cannot even express is refused in a filled head.
func TestFillDefects(t *testing.T) {
	check := func(method, target, name, value string, want error) {
		t.Helper()
		var h head.Head
		h.StartRequest(head.HTTP2, []byte(method), []byte(target))
		err := h.Fill([]byte("host"), []byte("a"))
		if err == nil {
			err = h.Fill([]byte(name), []byte(value))
		}
		if err == nil {
			err = h.FinishRequest()
		}
		if err != want {
			t.Errorf("%q %q %q %q: %v, want %v", method, target, name, value, err, want)
		}
	}
	check("GET", "/", "x-a", "1", nil)
	check("GET", "/", "x-a", " 1\t", nil)
	check("GET", "https://b/x", "x-a", "1", nil)
	check("GET", "/x HTTP/1.1", "x-a", "1", head.DefectTarget)
	check("GET", "/x\r\nX-B: 2", "x-a", "1", head.DefectTarget)
	check("GET", "/x\t", "x-a", "1", head.DefectTarget)
	check("GET", "/0123456789\x7f", "x-a", "1", head.DefectTarget)
	check("GET", "", "x-a", "1", head.DefectTarget)
	check("", "/", "x-a", "1", head.DefectMethod)
	check("GET /", "/", "x-a", "1", head.DefectMethod)
	check("CONNECT", "a:1", "x-a", "1", head.DefectTunnelMethod)
	check("GET", "/", "", "1", head.DefectName)
	check("GET", "/", ":path", "1", head.DefectName)
	check("GET", "/", "x-a\r\nx-b", "1", head.DefectName)
	check("GET", "/", "x-a", "1\r\nX-B: 2", head.DefectValue)
	check("GET", "/", "host", "b", head.DefectTwoHosts)
	check("GET", "/", "content-length", "x", head.DefectLength)
}

// A response that weir or a later version of HTTP makes.
func TestFillResponse(t *testing.T) {
	var h head.Head
	h.StartResponse(404)
	for _, f := range [][2]string{{"content-length", " 5"}, {"set-cookie", "a"}, {"set-cookie", "b"}, {"host", "a/b"}} {
		if err := h.Fill([]byte(f[0]), []byte(f[1])); err != nil {
			t.Errorf("%q: %v", f, err)
		}
	}
	if h.Length != 5 || h.Repeated() != head.SetOf(head.SetCookie) {
		t.Errorf("the head is %s", describe(&h))
	}
	const want = "HTTP/1.1 404 Not Found\r\ncontent-length:  5\r\nset-cookie: a\r\nset-cookie: b\r\nhost: a/b\r\n\r\n"
	if got := string(h.AppendTo(nil)); got != want {
		t.Errorf("the head is %q, want %q", got, want)
	}
}
