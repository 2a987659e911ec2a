package secure_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/secure"
)

type key = [sha256.Size]byte

var noon = time.Date(2026, time.November, 27, 12, 0, 0, 0, time.UTC)

// A key makes tickets for one period and is accepted for one more, over a change of processes too.
func TestOwnKeys(t *testing.T) {
	t.Parallel()
	tickets := secure.NewTickets(nil)
	tickets.Use(time.Hour, nil)
	first, next := tickets.Keys(noon)
	if len(first) != 1 || !next.Equal(noon.Add(time.Hour)) {
		t.Fatalf("%d keys until %v", len(first), next)
	}
	if again, _ := tickets.Keys(noon.Add(59 * time.Minute)); !slices.Equal(again, first) {
		t.Error("the key changed within its period")
	}
	tickets = secure.NewTickets(tickets.Own())
	tickets.Use(time.Hour, nil)
	second, _ := tickets.Keys(noon.Add(time.Hour))
	if len(second) != 2 || second[1] != first[0] || second[0] == first[0] {
		t.Errorf("after a period there are %d keys", len(second))
	}
	third, _ := tickets.Keys(noon.Add(2 * time.Hour))
	if len(third) != 2 || slices.Contains(third, first[0]) {
		t.Error("a key is accepted after two periods")
	}
	// A clock that is set back keeps keys, and does not stop new ones.
	if back, next := tickets.Keys(noon.Add(-time.Hour)); !slices.Equal(back, third) || !next.Equal(noon) {
		t.Errorf("with the clock set back the next key comes at %v", next)
	}
	if other := secure.NewTickets([]secure.TicketKey{{Made: noon, Key: []byte("short")}}); len(other.Own()) != 0 {
		t.Error("a key of another length was taken")
	}
}

// Nodes with the same secrets have the same keys at the same time, also if their clocks differ.
func TestSharedKeys(t *testing.T) {
	t.Parallel()
	at := func(when time.Time, period time.Duration, secrets ...string) []key {
		tickets := secure.NewTickets(nil)
		var list [][]byte
		for _, s := range secrets {
			list = append(list, []byte(s))
		}
		tickets.Use(period, list)
		keys, _ := tickets.Keys(when)
		return keys
	}
	one, two := strings.Repeat("1", 32), strings.Repeat("2", 32)
	now := at(noon, time.Hour, one)
	if !slices.Equal(at(noon.Add(59*time.Minute), time.Hour, one), now) {
		t.Error("the keys changed within a period")
	}
	accepts := func(what string, keys []key, maker key, want bool) {
		t.Helper()
		if slices.Contains(keys, maker) != want {
			t.Errorf("%s: accepted is %v", what, !want)
		}
	}
	accepts("one period later", at(noon.Add(time.Hour), time.Hour, one), now[0], true)
	accepts("two periods later", at(noon.Add(2*time.Hour), time.Hour, one), now[0], false)
	accepts("by a clock that is behind", at(noon.Add(-time.Minute), time.Hour, one), now[0], true)
	accepts("with another secret first", at(noon, time.Hour, two, one), now[0], true)
	accepts("with another secret", at(noon, time.Hour, two), now[0], false)
	accepts("with another period", at(noon, 2*time.Hour, one), now[0], false)
	if at(noon, time.Hour, two, one)[0] == now[0] {
		t.Error("the second secret makes tickets")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secrets")
	check := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		secrets, err := secure.LoadSecrets(path)
		got := fmt.Sprint(len(secrets))
		if err != nil {
			got = strings.ReplaceAll(err.Error(), path, "F")
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	good := strings.Repeat("x", 32)
	check(good+"\n", "1")
	check("# the new one\n"+good+"1\r\n\n"+good+"2", "2")
	check("", "F: found no secret: want a line of 32 bytes at least, such as of openssl rand -base64 48")
	check(good+"\nshort\n", "F:2: found a secret of 5 bytes: want 32 at least, such as of openssl rand -base64 48")
	if _, err := secure.LoadSecrets(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file is no error")
	}
}
