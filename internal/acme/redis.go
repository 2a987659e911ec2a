package acme

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/redis/rueidis"

	"weir/internal/resp"
)

const (
	// keyPrefix begins all keys of certificates.
	keyPrefix = "weir:certificates:"
	// lockLife is how long a lock lasts whose holder does not renew it, because it was killed, and lockRenewal
	// how often it is renewed.
	lockLife    = 15 * time.Second
	lockRenewal = lockLife / 3
	// lockPoll is how often a lock is tried that another weir has.
	lockPoll = 500 * time.Millisecond
	// redisWithin bounds one command, and connecting.
	redisWithin = 5 * time.Second
)

// OpenRedis opens a storage in Redis or Valkey, "redis://" or "rediss://". It connects when it is used.
func OpenRedis(u *url.URL) (certmagic.Storage, error) {
	option, err := rueidis.ParseURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("cannot use the URL of the storage of certificates: %w", err)
	}
	option.DisableCache = true
	option.ForceSingleClient = option.Sentinel.MasterSet == ""
	option.PipelineMultiplex = -1
	option.ClientName = "weir"
	option.DialCtxFn = resp.Bounded(option.DialCtxFn, resp.LeastText)
	option.Dialer.Timeout, option.ConnWriteTimeout = redisWithin, redisWithin
	s := &redisStorage{option: option, held: make(map[string]*heldLock)}
	s.Reader = Reader{Value: s.load, Keys: s.keys}
	return s, nil
}

// redisStorage is a certmagic.Storage. A value is a key whose first 8 bytes are the time of its writing, in ns.
type redisStorage struct {
	Reader
	option rueidis.ClientOption

	mu     sync.Mutex
	client rueidis.Client // nil before the first use that worked
	held   map[string]*heldLock
}

// heldLock is a lock of this process.
type heldLock struct {
	token string
	stop  context.CancelFunc
}

// do runs commands.
func (s *redisStorage) do(ctx context.Context, commands func(ctx context.Context, c rueidis.Client) error) error {
	c, err := s.connect()
	if err != nil {
		return err
	}
	ctx, done := context.WithTimeout(ctx, redisWithin)
	defer done()
	return commands(ctx, c)
}

func (s *redisStorage) connect() (rueidis.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		c, err := rueidis.NewClient(s.option)
		if err != nil {
			return nil, fmt.Errorf("cannot connect to the storage of certificates: %w", err)
		}
		s.client = c
	}
	return s.client, nil
}

// Close ends the connection.
func (s *redisStorage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// Store implements certmagic.Storage.
func (s *redisStorage) Store(ctx context.Context, key string, value []byte) error {
	b := append(binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano())), value...)
	return s.do(ctx, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Set().Key(keyPrefix+key).Value(rueidis.BinaryString(b)).Build()).Error()
	})
}

// load returns a value and the time of its writing.
func (s *redisStorage) load(ctx context.Context, key string) (value []byte, written time.Time, err error) {
	err = s.do(ctx, func(ctx context.Context, c rueidis.Client) (err error) {
		value, err = c.Do(ctx, c.B().Get().Key(keyPrefix+key).Build()).AsBytes()
		return err
	})
	switch {
	case rueidis.IsRedisNil(err):
		return nil, written, fs.ErrNotExist
	case err != nil:
		return nil, written, err
	case len(value) < 8:
		return nil, written, fmt.Errorf("key %q of the storage of certificates has no time", key)
	}
	return value[8:], time.Unix(0, int64(binary.LittleEndian.Uint64(value))), nil
}

// Delete implements certmagic.Storage: the key, and those below it.
func (s *redisStorage) Delete(ctx context.Context, key string) error {
	below, err := s.below(ctx, key)
	if err != nil {
		return err
	}
	return s.do(ctx, func(ctx context.Context, c rueidis.Client) error {
		for _, key := range append(below, key) { // one by one, because a cluster has them on different nodes
			if err := c.Do(ctx, c.B().Del().Key(keyPrefix+key).Build()).Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// keys returns the keys that begin with a prefix.
func (s *redisStorage) keys(ctx context.Context, prefix string) (list []string, err error) {
	pattern := globEscaper.Replace(keyPrefix+prefix) + "*"
	err = s.do(ctx, func(ctx context.Context, c rueidis.Client) error {
		for cursor := uint64(0); ; {
			found, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
			if err != nil {
				return err
			}
			for _, key := range found.Elements {
				list = append(list, strings.TrimPrefix(key, keyPrefix))
			}
			if cursor = found.Cursor; cursor == 0 {
				return nil
			}
		}
	})
	slices.Sort(list)
	return slices.Compact(list), err
}

var globEscaper = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`)

// Lock implements certmagic.Storage. The lock is renewed until Unlock.
func (s *redisStorage) Lock(ctx context.Context, name string) error {
	token := rand.Text()
	for {
		err := s.do(ctx, func(ctx context.Context, c rueidis.Client) error {
			return c.Do(ctx, c.B().Set().Key(lockKey(name)).Value(token).Nx().PxMilliseconds(lockLife.Milliseconds()).Build()).Error()
		})
		if err == nil {
			break
		}
		if !rueidis.IsRedisNil(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
	renewing, stop := context.WithCancel(context.Background())
	s.mu.Lock()
	s.held[name] = &heldLock{token, stop}
	s.mu.Unlock()
	go s.renew(renewing, name, token)
	return nil
}

func lockKey(name string) string { return keyPrefix + "locks/" + name }

var (
	// extend and release do nothing to a lock that has run out, and is another's.
	extend  = rueidis.NewLuaScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end return 0`)
	release = rueidis.NewLuaScript(`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)
)

// renew keeps a lock until ctx ends.
func (s *redisStorage) renew(ctx context.Context, name, token string) {
	ticker := time.NewTicker(lockRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = s.do(ctx, func(ctx context.Context, c rueidis.Client) error { // the next tick tries again
				return extend.Exec(ctx, c, []string{lockKey(name)}, []string{token, fmt.Sprint(lockLife.Milliseconds())}).Error()
			})
		}
	}
}

// Unlock implements certmagic.Storage.
func (s *redisStorage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	lock := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if lock == nil {
		return fmt.Errorf("lock %q is not held", name)
	}
	lock.stop()
	return s.do(ctx, func(ctx context.Context, c rueidis.Client) error {
		return release.Exec(ctx, c, []string{lockKey(name)}, []string{lock.token}).Error()
	})
}
