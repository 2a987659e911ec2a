package cli

import (
	"weir/cache/disk"
	"weir/cache/redis"
	"weir/config"
	"weir/server"
)

// tiersAfter returns tiers for which the disk's folder is opened once released is closed; nil
// means at once.
func tiersAfter(released <-chan struct{}) func(c *config.Cache) ([]server.Tier, error) {
	return func(c *config.Cache) ([]server.Tier, error) { return tiers(c, released) }
}

// tiers returns the tiers that the cache asks after its near tier: first the
// disk of this machine, then what several machines share.
func tiers(c *config.Cache, released <-chan struct{}) ([]server.Tier, error) {
	var list []server.Tier
	if c.Persist.Folder != "" {
		t, err := disk.New(&c.Persist)
		if err != nil {
			return nil, err
		}
		t.After(released)
		list = append(list, server.Tier{Tier: t, Queue: c.Far.Queue})
	}
	if c.Far.URL != "" {
		t, err := redis.New(&c.Far, c.MaxObject)
		if err != nil {
			return nil, err
		}
		list = append(list, server.Tier{Tier: t, Queue: c.Far.Queue, Compress: int(c.Far.Compress)})
	}
	return list, nil
}

// checkTiers reports settings of tiers that a start would refuse. It opens and connects
// nothing.
func checkTiers(cfg *config.Config) config.Errors {
	c := &cfg.Cache
	var problems config.Errors
	if c.Persist.Folder != "" {
		if _, err := disk.New(&c.Persist); err != nil {
			problems = append(problems, config.Problem{Key: config.Key("cache", "persist", "size"), Message: err.Error()})
		}
		if err := checkFolder(c.Persist.Folder); err != nil {
			problems = append(problems, config.Problem{Key: config.Key("cache", "persist", "folder"), Message: err.Error()})
		}
	}
	if c.Far.URL != "" {
		if _, err := redis.New(&c.Far, c.MaxObject); err != nil {
			problems = append(problems, config.Problem{Key: config.Key("cache", "far", "url"), Message: err.Error()})
		}
	}
	return cfg.Locate(problems)
}
