package server

import (
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"

	"weir/cache"
	"weir/cache/tier"
	"weir/config"
)

// Tier is a place behind the near tier that an embedder or main provides.
type Tier struct {
	// Tier is the tier; it may implement tier.Keeper, too.
	Tier tier.Tier
	// Queue bounds the writes that wait.
	Queue int
	// Compress is the size from which bodies are compressed; 0 means never.
	Compress int
}

// WithTiers provides the tiers behind the cache's near tier: make is called for
// every new store with the configuration's cache table, and returns them in the
// order in which they are asked. The store closes them.
func WithTiers(make func(c *config.Cache) ([]Tier, error)) Option {
	return func(o *options) { o.tiers = make }
}

// store is a cache that generations share as long as its settings stay the
// same. The last one closes it.
type store struct {
	*cache.Store
	users atomic.Int32
}

// acquireStore is the store for cfg: the old one if its settings are the same,
// nil if no route has a cache.
func (s *Server) acquireStore(cfg *config.Config, old *generation) (*store, error) {
	if !slices.ContainsFunc(cfg.Routes, func(r config.Route) bool { return r.Cache != nil && r.Cache.Enabled }) {
		return nil, nil
	}
	if old != nil && old.store != nil {
		before, now := old.config.Cache, cfg.Cache
		before.PurgeFrom, now.PurgeFrom = nil, nil // not the store's affair
		if reflect.DeepEqual(before, now) {
			old.store.users.Add(1)
			return old.store, nil
		}
		if err := changesFolder(&before, &now); err != nil {
			return nil, err
		}
	}
	c, err := cache.NewStore(&cfg.Cache)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	st := &store{Store: c}
	st.users.Store(1)
	st.Recall(s.recalled.Cache)
	st.Connect(s.other.Other())
	if s.options.tiers == nil {
		return st, nil
	}
	tiers, err := s.options.tiers(&cfg.Cache)
	for _, t := range tiers {
		if err != nil {
			break
		}
		err = c.Attach(t.Tier, t.Queue, t.Compress, s.log)
	}
	if err != nil {
		st.release(s.log)
		return nil, fmt.Errorf("cache: %w", err)
	}
	return st, nil
}

// changesFolder is the error of settings that differ from those in force while the folder stays.
func changesFolder(before, now *config.Cache) error {
	folder := now.Persist.Folder
	if folder == "" || folder != before.Persist.Folder {
		return nil
	}
	return fmt.Errorf("cache: found other settings than those in force, with the same persist.folder %q, which the old settings use: want a restart to change them, or another folder", folder)
}

// release closes the store after its last user.
func (st *store) release(log *slog.Logger) {
	if st.users.Add(-1) > 0 {
		return
	}
	if err := st.Close(); err != nil {
		log.Warn("cannot close the cache's tiers", "error", err)
	}
}

// near is the cache.Store that the core uses, nil if there is none.
func (st *store) near() *cache.Store {
	if st == nil {
		return nil
	}
	return st.Store
}
