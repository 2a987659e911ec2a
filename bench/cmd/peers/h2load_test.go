package main

import "testing"

func TestParseH2Load(t *testing.T) {
	t.Parallel()
	l, err := parseH2Load(`starting benchmark...
finished in 3.00s, 21093.67 req/s, 22.16MB/s
requests: 63281 total, 63601 started, 63281 done, 63279 succeeded, 2 failed, 1 errored, 0 timeout
status codes: 63281 2xx, 0 3xx, 0 4xx, 0 5xx
`)
	if err != nil || l != (loaded{requests: 63279, failed: 2, perSecond: 21093.67}) {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []string{"", "finished in 3.00s, 0 req/s\nrequests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout"} {
		if l, err := parseH2Load(bad); err == nil {
			t.Errorf("%q is %+v", bad, l)
		}
	}
}
