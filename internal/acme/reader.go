package acme

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// Reader is the part of a certmagic.Storage that reads, for a storage of keys without folders. What
// looks like a folder is what keys have in common up to a slash.
type Reader struct {
	// Value returns a value and the time of its writing, fs.ErrNotExist if it is not there.
	Value func(ctx context.Context, key string) (value []byte, written time.Time, err error)
	// Keys returns the keys that begin with a prefix.
	Keys func(ctx context.Context, prefix string) ([]string, error)
}

// Load implements certmagic.Storage.
func (r *Reader) Load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := r.Value(ctx, key)
	return value, err
}

// Exists implements certmagic.Storage.
func (r *Reader) Exists(ctx context.Context, key string) bool {
	_, err := r.Stat(ctx, key)
	return err == nil
}

// Stat implements certmagic.Storage.
func (r *Reader) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, written, err := r.Value(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: written, Size: int64(len(value)), IsTerminal: true}, nil
	}
	if below, listErr := r.below(ctx, key); errors.Is(err, fs.ErrNotExist) && listErr == nil && len(below) > 0 {
		return certmagic.KeyInfo{Key: key}, nil
	}
	return certmagic.KeyInfo{}, err
}

// List implements certmagic.Storage.
func (r *Reader) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	below, err := r.below(ctx, path)
	if recursive || err != nil {
		return below, err
	}
	path = strings.Trim(path, "/")
	children := make(map[string]bool)
	for _, key := range below {
		rest := strings.TrimPrefix(strings.TrimPrefix(key, path), "/")
		name, _, _ := strings.Cut(rest, "/")
		if path != "" {
			name = path + "/" + name
		}
		children[name] = true
	}
	return slices.Sorted(maps.Keys(children)), nil
}

// below returns all keys below a path.
func (r *Reader) below(ctx context.Context, path string) ([]string, error) {
	if path = strings.Trim(path, "/"); path != "" {
		path += "/"
	}
	return r.Keys(ctx, path)
}
