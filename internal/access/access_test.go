package access

import (
	"encoding/base64"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"weir/config"
)

func prefixes(t *testing.T, list ...string) (all []config.Prefix) {
	t.Helper()
	for _, text := range list {
		p, err := config.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func TestAddresses(t *testing.T) {
	check := func(allow, deny []config.Prefix, allowed, denied string) {
		t.Helper()
		a := NewAddresses(allow, deny)
		for want, list := range map[bool]string{true: allowed, false: denied} {
			for text := range strings.FieldsSeq(list) {
				var client netip.Addr
				if text != "unix" {
					client = netip.MustParseAddr(text)
				}
				if got := a.Allow(client); got != want {
					t.Errorf("allow %v deny %v: %s: %v", allow, deny, text, got)
				}
			}
		}
	}
	list := func(text ...string) []config.Prefix { return prefixes(t, text...) }
	check(nil, nil, "1.2.3.4 ::1 unix", "")
	check(list("10.0.0.0/8"), nil, "10.0.0.1 10.255.255.255", "11.0.0.0 ::1 unix")
	check(nil, list("10.0.0.0/8", "fd00::/8"), "11.0.0.0 ::1 unix", "10.0.0.1 fd00::1 fd00::1%lo")
	// Exceptions both ways, and in each other.
	check(list("10.0.0.0/8", "10.1.2.3"), list("10.1.0.0/16"), "10.0.0.1 10.1.2.3", "10.1.0.1 9.9.9.9")
	check(list("10.0.0.0/8"), list("0.0.0.0/0", "::/0"), "10.0.0.1", "1.2.3.4 ::1 unix")
}

// The longest prefix that has an address decides.
func TestAddressesModel(t *testing.T) {
	for range 200 {
		var allow, deny []config.Prefix
		seen := map[netip.Prefix]bool{}
		for range 1 + rand.IntN(12) {
			p := netip.PrefixFrom(randomAddr(), 0)
			p, _ = p.Addr().Prefix(rand.IntN(p.Addr().BitLen() + 1))
			if seen[p] {
				continue
			}
			seen[p] = true
			if rand.IntN(2) == 0 {
				allow = append(allow, config.Prefix{Prefix: p})
			} else {
				deny = append(deny, config.Prefix{Prefix: p})
			}
		}
		a := NewAddresses(allow, deny)
		for range 50 {
			client := randomAddr()
			best, want := -1, len(allow) == 0
			for i, list := range [][]config.Prefix{allow, deny} {
				for _, p := range list {
					if p.Contains(client) && p.Bits() > best {
						best, want = p.Bits(), i == 0
					}
				}
			}
			if got := a.Allow(client); got != want {
				t.Fatalf("allow %v deny %v: %s: %v", allow, deny, client, got)
			}
		}
	}
}

// randomAddr returns one of few addresses, so that ranges meet.
func randomAddr() netip.Addr {
	b := byte(rand.IntN(4) * 64)
	if rand.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, b, byte(rand.IntN(3)), byte(rand.IntN(3))})
	}
	return netip.AddrFrom16([16]byte{0xfd, b, 15: byte(rand.IntN(3))})
}

func quick(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func argon(password string) string {
	salt := []byte("saltsalt")
	b := base64.RawStdEncoding.EncodeToString
	return "$argon2id$v=19$m=64,t=1,p=2$" + b(salt) + "$" + b(argon2.IDKey([]byte(password), salt, 1, 64, 2, 32))
}

func TestUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	text := "# people\n\nbob:" + argon("b:ob") + "\r\n  zoë:" + strings.Replace(quick(t, "ü"), "$2a$", "$2y$", 1) + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := NewUsers(&config.BasicAuth{File: path, Users: map[string]string{"alice": quick(t, "secret")}})
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier()
	check := func(credentials string, want bool) {
		t.Helper()
		c, ok := ParseCredentials([]byte("basic " + base64.StdEncoding.EncodeToString([]byte(credentials))))
		if !ok {
			t.Fatal(credentials)
		}
		for _, known := range []bool{false, want} {
			if got := v.Known(u, c); got != known {
				t.Errorf("%q: known is %v", credentials, got)
			}
			if got, err := v.Verify(u, c); got != want || err != nil {
				t.Errorf("%q: %v, %v", credentials, got, err)
			}
		}
	}
	check("alice:secret", true)
	check("alice:Secret", false)
	check("alice:", false)
	check("bob:b:ob", true)
	check("bob:secret", false)
	check("zoë:ü", true)
	check("nobody:secret", false)
	check(":secret", false)
	// What is known of a hash is known of it everywhere, and of no other.
	again, _ := NewUsers(&config.BasicAuth{File: path, Users: map[string]string{"alice": quick(t, "secret")}})
	if !v.Known(again, Credentials{[]byte("bob"), []byte("b:ob")}) || v.Known(again, Credentials{[]byte("alice"), []byte("secret")}) {
		t.Error("what is known does not follow the hashes")
	}
}

func TestUsersProblems(t *testing.T) {
	check := func(line, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(path, []byte("\n"+line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := NewUsers(&config.BasicAuth{File: path})
		if err == nil || !strings.Contains(err.Error(), path+":2: "+want) {
			t.Errorf("%q: %v", line, err)
		}
		if _, hash, ok := strings.Cut(line, ":"); ok && len(hash) > 8 && strings.Contains(err.Error(), hash) {
			t.Errorf("%q: the error shows the hash: %v", line, err)
		}
	}
	const want = `user "a": want a bcrypt hash`
	check("alice", `want "name:hash"`)
	check("a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", want)
	check("a:$apr1$abc$def", want)
	check("a:plain text", want)
	check("a:$2y$10$tooshort", want)
	check("a:"+quick(t, "x")+"x", want)
	check("a:"+strings.Replace(quick(t, "x"), "$04$", "$17$", 1), `user "a": want a bcrypt hash with a cost of at most 16, not 17`)
	check("a:"+strings.Replace(argon("x"), "m=64", "m=4194304", 1), `user "a": want an argon2id hash with m=8 to`)
	check("a:"+strings.Replace(argon("x"), "t=1", "t=0", 1), `user "a": want an argon2id hash with m=8 to`)
	check("a:"+strings.Replace(argon("x"), "v=19", "v=16", 1), want)
	check(":"+quick(t, "x"), `user "": want a name`)
}

func TestCredentials(t *testing.T) {
	b := base64.StdEncoding.EncodeToString
	for field, want := range map[string]string{
		"Basic " + b([]byte("a:b")):     "a b",
		"basic  " + b([]byte("a:b:c")):  "a b:c",
		"BASIC YTpiYw":                  "a bc",
		"Basic " + b([]byte(":")):       " ",
		"Basic " + b([]byte("nocolon")): "",
		"Basic !!!":                     "",
		"Basic":                         "",
		"Bearer " + b([]byte("a:b")):    "",
		"":                              "",
	} {
		c, ok := ParseCredentials([]byte(field))
		if got := string(c.User) + " " + string(c.Password); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", field, got, ok)
		}
	}
}

// No more passwords are hashed at once than there are places, and what waits for too long is
// told so. A right password is hashed once for all that wait.
func TestVerifierIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewVerifier()
		v.places = make(chan struct{}, 1)
		release, hashed := make(chan struct{}), 0
		slow := user{"a", "hash", func(p []byte) bool {
			hashed++
			<-release
			return string(p) == "right"
		}}
		u := &Users{byName: map[string]user{"a": slow}}
		type result struct {
			ok  bool
			err error
		}
		results := make(chan result, 10)
		ask := func(password string) {
			ok, err := v.Verify(u, Credentials{[]byte("a"), []byte(password)})
			results <- result{ok, err}
		}
		for range 3 {
			go ask("right")
		}
		synctest.Wait()
		close(release)
		for range 3 {
			if r := <-results; !r.ok || r.err != nil {
				t.Errorf("%+v", r)
			}
		}
		if hashed != 1 {
			t.Errorf("hashed %d times", hashed)
		}
		release = make(chan struct{})
		go ask("wrong")
		synctest.Wait()
		go ask("wrong too")
		if r := <-results; r.err != ErrBusy {
			t.Errorf("%+v", r)
		}
		close(release)
		if r := <-results; r.ok || r.err != nil {
			t.Errorf("%+v", r)
		}
	})
}

// What is remembered is bounded in number and time.
func TestVerifierForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewVerifier()
		u := &Users{byName: map[string]user{"a": {"a", "hash", nil}}}
		c := Credentials{[]byte("a"), []byte("secret")}
		for i := range maxVerified {
			v.remember(string(rune(i+0x10000)), c.Password)
		}
		v.remember("hash", c.Password)
		if len(v.good) != maxVerified || !v.Known(u, c) {
			t.Errorf("%d are remembered, the last is known: %v", len(v.good), v.Known(u, c))
		}
		time.Sleep(keepVerified + 1)
		if v.Known(u, c) {
			t.Error("it is known for ever")
		}
		v.remember("another", c.Password)
		if len(v.good) != 1 {
			t.Errorf("%d are remembered", len(v.good))
		}
	})
}
