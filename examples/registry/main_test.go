package main

import (
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	failed, err := run(&out, time.Second)
	if err != nil || failed > 0 || strings.Count(out.String(), " at 127.0.0.1:") < 12 {
		t.Errorf("%d requests failed, %v\n%s", failed, err, out.String())
	}
}
