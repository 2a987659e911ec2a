package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

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
		t, err := redis.New(&c.Far)
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
		if _, err := redis.New(&c.Far); err != nil {
			problems = append(problems, config.Problem{Key: config.Key("cache", "far", "url"), Message: err.Error()})
		}
	}
	return cfg.Locate(problems)
}

// checkPlaces reports sockets and files of weir's own for which there is no place.
func checkPlaces(cfg *config.Config) config.Errors {
	var problems config.Errors
	note := func(key []any, err error) {
		if err != nil {
			problems = append(problems, config.Problem{Key: config.Key(key...), Message: err.Error()})
		}
	}
	for i := range cfg.Listeners {
		note([]any{"listeners", i, "address"}, checkSocket(cfg.Listeners[i].Address))
	}
	note([]any{"metrics", "address"}, checkSocket(cfg.Metrics.Address))
	note([]any{"admin", "address"}, checkSocket(cfg.Admin.Address))
	if path := cfg.Discovery.Persist; path != "" {
		note([]any{"discovery", "persist"}, checkFolder(filepath.Dir(path)))
	}
	return cfg.Locate(problems)
}

// checkSocket says whether a unix socket can be made; other addresses are not looked at.
func checkSocket(a config.Address) error {
	network, path := a.Split()
	if network != "unix" {
		return nil
	}
	folder := filepath.Dir(path)
	switch info, err := os.Stat(folder); {
	case err != nil:
		return fmt.Errorf("cannot make a socket in folder %q: %w", folder, errors.Unwrap(err))
	case !info.IsDir():
		return fmt.Errorf("cannot make a socket in %q, which is no folder", folder)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("cannot make a socket %q, because there is a file that is none", path)
	}
	return nil
}

// checkFolder says whether a folder is there and may be written, or can be made.
func checkFolder(path string) error {
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return fmt.Errorf("cannot use folder %q: %w", path, err)
		case !info.IsDir():
			return fmt.Errorf("cannot use folder %q: %q is no folder", path, at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("cannot use folder %q: cannot write in %q: %w", path, at, err)
		}
		return nil
	}
}
