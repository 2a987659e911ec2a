package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// However the series of metrics are mixed, each line comes once, those of one metric together and in their order.
func TestExpose(t *testing.T) {
	t.Parallel()
	names := []string{"weir_a_total", "weir_a_total_more", "weir_h_bucket", "weir_h_sum", "weir_h_count", "weir_h", "weir_request_duration_seconds_bucket", "go_info_ext", "other"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var page bytes.Buffer
		want := make(map[string][]string)
		for i := range r.IntN(60) {
			name := names[r.IntN(len(names))]
			line := fmt.Sprintf(`%s{l="%d",k="a b{c"} %d`, name, i, i)
			switch r.IntN(5) {
			case 0:
				page.WriteString("# a comment\n\n")
			case 1:
				line = fmt.Sprint(name, " ", i)
			}
			page.WriteString(line + "\n")
			family := name
			if base, ok := strings.CutPrefix(name, "weir_h"); ok && base != "" {
				family = "weir_h"
			}
			want[family] = append(want[family], line)
		}
		known := map[string]*family{"weir_h": {kind: "histogram", help: "h"}, "weir_a_total": {kind: "counter", help: "a"}}
		var got bytes.Buffer
		expose(&got, page.Bytes(), known, nil, nil)
		found := make(map[string][]string)
		at := ""
		for line := range strings.Lines(got.String()) {
			line = strings.TrimSuffix(line, "\n")
			if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
				at, _, _ = strings.Cut(name, " ")
				if found[at] != nil {
					t.Fatalf("seed %d: %s is described twice", seed, at)
				}
			} else if line[0] != '#' {
				found[at] = append(found[at], line)
			}
		}
		for name, lines := range want {
			if at = name; !slices.Equal(found[at], lines) {
				t.Fatalf("seed %d: %s has %q, want %q", seed, name, found[at], lines)
			}
			delete(found, at)
		}
		if len(found) > 0 {
			t.Fatalf("seed %d: there is more: %v", seed, found)
		}
	}
}
