package inspect_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"weir/admin"
)

// The ids of traces are kept with exchanges, filters know them, archives have them, and targets got the same ones.
func TestTraceIDs(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	parents := make(chan string, 2)
	o := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { parents <- r.Header.Get("Traceparent") }))
	t.Cleanup(o.Close)
	s := startFile(t, "[inspect]\nsample = 1\n[tracing]\nenabled = true\nendpoint = \"none\"\nsample = 0.0\n"+
		"[[routes]]\nname = \"r\"\nupstream = \"o\"\n[upstreams.o]\ntargets = [\""+o.URL+"\"]\n")
	s.send("GET", s.url+"/came", "", "Traceparent: 00-"+id+"-00f067aa0ba902b7-00")
	s.send("GET", s.url+"/began", "")
	d := s.only("trace_id=" + strings.ToUpper(id))
	equal(t, "the path", d.Target, "/came")
	equal(t, "the trace that came", d.TraceID, id)
	if len(d.SpanID) != 16 || d.SpanID == "00f067aa0ba902b7" {
		t.Errorf("the span is %q, want one of weir's own", d.SpanID)
	}
	if parent := <-parents; !strings.HasPrefix(parent, "00-"+id+"-") {
		t.Errorf("the target got %q", parent)
	}
	began := s.only("path=/began")
	if parent := <-parents; !strings.HasPrefix(parent, "00-"+began.TraceID+"-") {
		t.Errorf("the target got %q of the trace %s", parent, began.TraceID)
	}
	var har admin.HAR
	s.ask("/inspect/har?ids="+d.ID, &har)
	equal(t, "the trace in the archive", har.Log.Entries[0].Weir.TraceID, id)
	_, text := s.send("GET", s.api+"/inspect/har?ids="+d.ID, "")
	if status, answer := s.send("POST", s.api+"/inspect/har", text); status != 200 {
		t.Fatalf("import: %d %s", status, answer)
	}
	equal(t, "the trace of what was imported", s.only("kind=imported").TraceID, id)
}

// Without tracing there is no id.
func TestNoTraceIDs(t *testing.T) {
	t.Parallel()
	s := start(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }, "sample = 1", "")
	s.send("GET", s.url+"/", "", "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	d := s.only("")
	equal(t, "the trace", d.TraceID, "")
	equal(t, "the span", d.SpanID, "")
}
