package proxy

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"weir/cache/tier"
)

// keepingTier keeps values in memory, which outlive a store.
type keepingTier struct{ values sync.Map }

func (k *keepingTier) Name() string                                      { return "keeping" }
func (k *keepingTier) Shared() bool                                      { return false }
func (k *keepingTier) Blobs() tier.Blobs                                 { return nil }
func (k *keepingTier) Close() error                                      { return nil }
func (k *keepingTier) Announce(context.Context, tier.Announcement) error { return nil }
func (k *keepingTier) Start(f tier.Follower, _ string) error             { f.CaughtUp(""); return nil }
func (k *keepingTier) Set(key, v []byte, _ tier.Blob, _ time.Duration) error {
	k.values.Store(string(key), bytes.Clone(v))
	return nil
}

func (k *keepingTier) Get(key []byte) ([]byte, tier.Blob, error) {
	v, _ := k.values.Load(string(key))
	b, _ := v.([]byte)
	return b, nil, nil
}

// What Cache-Status says of an entry that a tier has: it is validated like one in memory.
func TestStaleInTier(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := &keepingTier{}
		var s *stand
		var a *fakeTarget
		check := func(what, want string) {
			t.Helper()
			c := s.request("GET /x")
			c.serve()
			contains(t, what, c.front.head, "Cache-Status: weir; "+want)
		}
		start := func() {
			s = newStand(t, cachedRoute)
			if err := s.parts.Cache.Attach(k, 10, 0, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			a = s.on("a", answer("200\nCache-Control: max-age=60\nETag: \"1\"", "hello"))
		}
		start()
		check("the first", "fwd=uri-miss; fwd-status=200; stored")
		settle()
		start()
		check("fresh in the tier", "hit")
		time.Sleep(61 * time.Second)
		start()
		a.scripts = []script{answer("200\nCache-Control: max-age=60\nETag: \"2\"", "new")}
		check("stale in the tier", "fwd=stale; fwd-status=200; stored")
	})
}

// A client that wants what is stored or nothing (only-if-cached) gets what a tier has, and
// never makes weir ask the target.
func TestOnlyIfCachedInTier(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := &keepingTier{}
		var s *stand
		var a *fakeTarget
		check := func(what, request, want, status, text string, streams int) {
			t.Helper()
			c := s.request(request)
			equal(t, what, c.serve(), want)
			contains(t, what, c.front.head, "Cache-Status: weir; "+status)
			equal(t, what+": the body", c.front.sent(), text)
			equal(t, what+": streams", a.count(), streams)
			settle()
		}
		start := func() {
			s = newStand(t, cachedRoute)
			if err := s.parts.Cache.Attach(k, 10, 0, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			a = s.on("a", answer("200\nCache-Control: max-age=60\nVary: A\nETag: \"1\"", "hello"))
		}
		const only = "GET /x\nCache-Control: only-if-cached"
		start()
		check("nothing stored", only, "504 not_cached", "detail=only-if-cached", "", 0)
		check("another client", "GET /x\nA: b", "200 ok", "fwd=uri-miss; fwd-status=200; stored", "hello", 1)
		start()
		check("another variant", only, "504 not_cached", "detail=only-if-cached", "", 0)
		check("in the tier", only+"\nA: b", "200 cached", "hit", "hello", 0)
		check("in memory", only+"\nA: b", "200 cached", "hit", "hello", 0)
		start()
		check("a part", only+"\nA: b\nRange: bytes=1-2", "206 cached", "hit", "el", 0)
		start()
		check("a condition", only+"\nA: b\nIf-None-Match: \"1\"", "304 cached", "hit", "", 0)
		time.Sleep(61 * time.Second)
		start()
		check("stale", only+"\nA: b", "504 not_cached", "detail=only-if-cached", "", 0)
		check("stale and wanted", only+", max-stale=600\nA: b", "200 cached", "hit; ttl=-", "hello", 0)
		start()
		s.request("POST /x").serve()
		settle()
		check("invalidated", only+"\nA: b", "504 not_cached", "detail=only-if-cached", "", 1)
	})
}
