package load_test

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"weir/bench/load"
)

func TestBrowser(t *testing.T) {
	raw := load.Browser("bench.test", "/page/1")
	if fields := strings.Count(string(raw), "\r\n") - 2; fields != 14 || len(raw) < 670 || len(raw) > 730 {
		t.Errorf("%d fields in %d bytes, want 14 in some 700", fields, len(raw))
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil || req.Host != "bench.test" || req.URL.Path != "/page/1" {
		t.Errorf("%+v, %v, want a request for /page/1 of bench.test", req, err)
	}
}
