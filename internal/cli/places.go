package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"weir/config"
)

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
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("cannot make a socket in folder %q: %w", folder, err)
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
