package discover

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// named is a Name that takes in answers.
type named struct {
	*testing.T
	*Name
}

func newNamed(t *testing.T, untimed time.Duration) *named {
	n, err := NewName("http://app:80", nil, untimed)
	if err != nil {
		t.Fatal(err)
	}
	n.routed = func(netip.AddrPort) bool { return true }
	return &named{t, n}
}

// takes takes in an answer, "!4" for that the family could not be looked up, and checks the endpoints, "-" for
// one that drains.
func (n *named) takes(answer, want string) {
	n.Helper()
	var found Addresses
	for word := range strings.FieldsSeq(answer) {
		switch word {
		case "!4":
			found.No4 = true
		case "!6":
			found.No6 = true
		default:
			found.List = append(found.List, netip.MustParseAddr(word))
		}
	}
	n.take(&found)
	var got []string
	for _, e := range n.endpoints() {
		address, ok := strings.CutPrefix(e.URL, "http://app:80#")
		if !ok {
			n.Errorf("got the URL %s", e.URL)
		}
		if e.Drain {
			address += "-"
		}
		got = append(got, address)
	}
	if got := strings.Join(got, " "); got != want {
		n.Errorf("after %s: got %s, want %s", answer, got, want)
	}
}

// An address is gone with the second answer that lacks it, and gets nothing new after the first.
func TestNameTakes(t *testing.T) {
	t.Parallel()
	n := newNamed(t, time.Second)
	n.takes("1.1.1.1 2.2.2.2 ::1", "1.1.1.1 2.2.2.2 ::1")
	n.takes("1.1.1.1 ::1 3.3.3.3", "1.1.1.1 2.2.2.2- 3.3.3.3 ::1")
	n.takes("1.1.1.1 ::1 3.3.3.3", "1.1.1.1 3.3.3.3 ::1")
	n.takes("3.3.3.3 !6", "1.1.1.1- 3.3.3.3 ::1")
	n.takes("3.3.3.3 !6", "3.3.3.3 ::1")
	n.takes("::1 !4", "3.3.3.3 ::1")
	n.takes("4.4.4.4", "3.3.3.3- 4.4.4.4 ::1-")
	n.takes("::1 3.3.3.3", "3.3.3.3 4.4.4.4- ::1")
	n.takes("", "")
	n.takes("4.4.4.4", "4.4.4.4")
	n.takes("5.5.5.5", "4.4.4.4- 5.5.5.5") // by turns
	n.takes("4.4.4.4", "4.4.4.4 5.5.5.5-")
	n.takes("5.5.5.5", "4.4.4.4- 5.5.5.5")
}

// An address without a way to it is left out unless there is no other.
func TestNameWithoutWay(t *testing.T) {
	t.Parallel()
	n := newNamed(t, time.Second)
	n.routed = func(a netip.AddrPort) bool { return a.Addr().Is4() }
	n.takes("1.1.1.1 fd00::1", "1.1.1.1")
	n.takes("fd00::1", "1.1.1.1- fd00::1")
	n.takes("fd00::1", "fd00::1")
	if !routed(netip.MustParseAddrPort("127.0.0.1:80")) {
		t.Error("no way to this machine")
	}
}

func TestNameWaits(t *testing.T) {
	t.Parallel()
	one := []netip.Addr{netip.MustParseAddr("1.1.1.1")}
	for _, c := range []struct {
		untimed time.Duration
		found   Addresses
		want    string
	}{
		{5 * time.Second, Addresses{List: one}, "5s"},
		{5 * time.Second, Addresses{List: one, TTL: 0, Timed: true}, "1s"},
		{5 * time.Second, Addresses{List: one, TTL: 7 * time.Second, Timed: true}, "7s"},
		{5 * time.Second, Addresses{List: one, TTL: time.Hour, Timed: true}, "30s"},
		{5 * time.Second, Addresses{}, "1s"},
		{0, Addresses{}, "1s"},
		{0, Addresses{List: one, TTL: time.Second, Timed: true}, "0s"},
	} {
		if got := fmt.Sprint(newNamed(t, c.untimed).wait(&c.found)); got != c.want {
			t.Errorf("%+v: waits %s, want %s", c, got, c.want)
		}
	}
}
