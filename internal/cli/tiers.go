package cli

import (
	"weir/cache/disk"
	"weir/cache/redis"
	"weir/config"
	"weir/server"
)

// tiers returns the tiers that the cache asks after its near tier: first the
// disk of this machine, then what several machines share.
func tiers(c *config.Cache) ([]server.Tier, error) {
	var list []server.Tier
	if c.Persist.Folder != "" {
		t, err := disk.New(&c.Persist)
		if err != nil {
			return nil, err
		}
		list = append(list, server.Tier{Tier: t, Queue: c.Far.Queue})
	}
	if c.Far.URL != "" {
		t, err := redis.New(&c.Far)
		if err != nil {
			return nil, err
		}
		list = append(list, server.Tier{Tier: t, Queue: c.Far.Queue, Compress: int(c.Far.Compress)})
	}
	return list, nil
}
