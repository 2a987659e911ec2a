package lb_test

import (
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/lb"
	"weir/lb/lbtest"
)

func TestSticky(t *testing.T) {
	for _, algorithm := range names() {
		s := newStand(t, "a b c", func(c *config.Upstream) {
			c.Balance = algorithm
			c.Sticky.Cookie = "weir"
		})
		c := s.Target("c")
		follow := func() string {
			p := lb.Pick{Sticky: []byte(c.Cookie())}
			target, err := s.Acquire(&p)
			if err != nil {
				t.Fatal(err)
			}
			s.Release(target, ok)
			return lbtest.Name(target)
		}
		for range 10 {
			equal(t, algorithm, follow(), "c")
		}
		s.SetDown(c, "test")
		if got := follow(); got == "c" {
			t.Errorf("%s: a cookie leads to a target that is down", algorithm)
		}
		s.SetUp(c)
		equal(t, algorithm+", up again", follow(), "c")

		// A retry does not go back.
		p := lb.Pick{Sticky: []byte(c.Cookie())}
		first, _ := s.Acquire(&p)
		second, err := s.Acquire(&p)
		if err != nil || first == second {
			t.Errorf("%s: the second attempt went to %v, %v", algorithm, second, err)
		}
	}
}

func TestStickyCookie(t *testing.T) {
	check := func(want string, overTLS bool, set func(*config.Sticky)) {
		t.Helper()
		s := newStand(t, "a", func(c *config.Upstream) {
			c.Sticky.Cookie = "weir"
			set(&c.Sticky)
		})
		a := s.Target("a")
		got := string(s.Sticky().AppendSetCookie(nil, a, overTLS))
		equal(t, "Set-Cookie", strings.Replace(got, a.Cookie(), "VALUE", 1), want)
		if strings.Contains(got, "a=") || len(a.Cookie()) != 24 {
			t.Errorf("cookie %q", got)
		}
	}
	check("weir=VALUE; Path=/; HttpOnly; SameSite=Lax", false, func(*config.Sticky) {})
	check("weir=VALUE; Path=/; HttpOnly; SameSite=Lax; Secure", true, func(*config.Sticky) {})
	check("weir=VALUE; Path=/x; Max-Age=3600; SameSite=None; Secure", false, func(s *config.Sticky) {
		*s = config.Sticky{Cookie: "weir", Path: "/x", MaxAge: config.Duration(time.Hour), Secure: "always", SameSite: "none"}
	})
	// The secret changes the value; without one it is the same everywhere.
	value := func(secret string) string {
		return newStand(t, "a", func(c *config.Upstream) {
			c.Sticky.Cookie, c.Sticky.Secret = "weir", secret
		}).Target("a").Cookie()
	}
	equal(t, "same secret", value("x"), value("x"))
	if value("x") == value("y") {
		t.Error("the secret does not change the value")
	}
	if newStand(t, "a", nil).Sticky() != nil {
		t.Error("a cookie without its name")
	}
}
