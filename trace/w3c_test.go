package trace

import (
	"fmt"
	"strings"
	"testing"
)

const (
	traceDigits = "0af7651916cd43dd8448eb211c80319c"
	spanDigits  = "b7ad6b7169203331"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text        string
		ok, sampled bool
	}{
		{"00-" + traceDigits + "-" + spanDigits + "-01", true, true},
		{"00-" + traceDigits + "-" + spanDigits + "-00", true, false},
		{"00-" + traceDigits + "-" + spanDigits + "-ff", true, true},
		{"00-" + traceDigits + "-" + spanDigits + "-02", true, false},
		{"cc-" + traceDigits + "-" + spanDigits + "-01", true, true},
		{"cc-" + traceDigits + "-" + spanDigits + "-01-what-the-future-will-be-like", true, true},
		{"cc-" + traceDigits + "-" + spanDigits + "-01.what", false, false},
		{"00-" + traceDigits + "-" + spanDigits + "-01-what", false, false},
		{"ff-" + traceDigits + "-" + spanDigits + "-01", false, false},
		{"00-" + strings.ToUpper(traceDigits) + "-" + spanDigits + "-01", false, false},
		{"00-" + strings.Repeat("0", 32) + "-" + spanDigits + "-01", false, false},
		{"00-" + traceDigits + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"00-" + traceDigits + "-" + spanDigits + "-0", false, false},
		{"00-" + traceDigits + "-" + spanDigits + "-0x", false, false},
		{"00_" + traceDigits + "-" + spanDigits + "-01", false, false},
		{"00-" + traceDigits[1:] + "-" + spanDigits + "-01 ", false, false},
		{"", false, false},
	} {
		c, ok := Parse([]byte(test.text))
		if ok != test.ok || c.Sampled != test.sampled {
			t.Errorf("%q: found %v, sampled %v: want %v, %v", test.text, ok, c.Sampled, test.ok, test.sampled)
		}
		if got := string(c.Append(nil)); ok && got[3:52] != test.text[3:52] {
			t.Errorf("%q: found %q after it was written again", test.text, got)
		}
	}
}

func TestValidState(t *testing.T) {
	t.Parallel()
	members := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("k%d=v", i))
		}
		return strings.Join(list, ",")
	}
	for list, want := range map[string]bool{
		"": true, "a=1": true, "a=1,b=2": true, "a=1 ,\tb=2": true, "a=1,,b=2": true, "tenant@vendor=1": true, "0a=1": true, "a-b*c/d_e=x y": true,
		members(32): true, members(33): false, "a=1,a=2": false, "A=1": false, "a": false, "a=": false, "=1": false, "a=1=2": false, "a b=1": false,
		"a=\x01": false, "a=é": false, strings.Repeat("k", 256) + "=1": true, strings.Repeat("k", 257) + "=1": false,
		"a=" + strings.Repeat("v", 256): true, "a=" + strings.Repeat("v", 257): false, "a=" + strings.Repeat("v", 9000): false, "_a=1": false,
	} {
		if got := ValidState([]byte(list)); got != want {
			t.Errorf("%.60q: found %v", list, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("00-" + traceDigits + "-" + spanDigits + "-01")
	f.Fuzz(func(t *testing.T, text string) {
		ValidState([]byte(text))
		c, ok := Parse([]byte(text))
		if again, valid := Parse(c.Append(nil)); valid != ok || again != c {
			t.Errorf("%q: found %v, %v after it was written again: want %v, %v", text, again, valid, c, ok)
		}
	})
}
