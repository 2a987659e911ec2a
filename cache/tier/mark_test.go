package tier_test

import (
	"fmt"
	"strings"
	"testing"

	"weir/cache/tier"
)

// TestMarksBounded: beyond their bound the oldest marks are forgotten, and what is older than
// those is taken for ended.
func TestMarksBounded(t *testing.T) {
	const n, limit = 10_000, 1 << 20
	m := tier.NewMarks(limit)
	key := func(i int) string { return fmt.Sprintf("GET http://h/%d/%s", i, strings.Repeat("x", 200)) }
	for i := 1; i <= n; i++ {
		if !m.Add(tier.Mark{At: int64(i), Key: key(i)}) {
			t.Fatalf("mark %d is no news", i)
		}
	}
	if m.Add(tier.Mark{At: n, Key: key(n)}) {
		t.Error("a mark is news twice")
	}
	for i := 1; i <= n; i++ {
		if m.Ended(key(i), int64(i), nil, 0) != tier.EndedWholly {
			t.Fatalf("%d came back", i)
		}
	}
	if m.Ended(key(n), n+1, nil, 0) != tier.NotEnded || m.Ended("GET http://h/other", n-100, nil, 0) != tier.NotEnded {
		t.Error("what is newer than all that was forgotten has ended")
	}
	if m.Ended("GET http://h/other", 1, nil, 0) != tier.EndedWholly {
		t.Error("what is older than what was forgotten is believed")
	}
}

// TestMarksOfOneMessage: marks go through a message, one by itself too.
func TestMarksOfOneMessage(t *testing.T) {
	list := []tier.Mark{{Node: "n", At: 7, Purge: true, Group: "g"}, {At: 8, Key: "k", AllVariants: true}}
	got, err := tier.DecodeMarks(tier.EncodeMarks(list))
	if err != nil || len(got) != 2 || got[0] != list[0] || got[1] != list[1] {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := tier.DecodeMarks([]byte(`{"at":3,"all":true}`)); err != nil || len(got) != 1 || !got[0].All {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := tier.DecodeMarks([]byte("x")); err == nil {
		t.Error("x is a list of marks")
	}
}
