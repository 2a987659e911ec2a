// Package etcd keeps certificates in etcd, "etcd://HOST:PORT/PREFIX". It is apart from package acme
// because its client library is large: only a program that is built with etcd has it.
package etcd

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"weir/discover/etcd"
	"weir/internal/acme"
)

const (
	// lockLife is how long a lock lasts whose holder was killed, in seconds.
	lockLife = 15
	// within bounds one command.
	within = 5 * time.Second
)

// Open is an acme.Opener. The URL has the form of those of sources.
func Open(u *url.URL) (certmagic.Storage, error) {
	ctx, stop := context.WithCancel(context.Background())
	client, prefix, err := etcd.Open(ctx, u)
	if err != nil {
		stop()
		return nil, fmt.Errorf("cannot use the URL of the storage of certificates: %w", err)
	}
	s := &storage{client: client, prefix: prefix + "/", stop: stop, held: make(map[string]*concurrency.Session)}
	s.Reader = acme.Reader{Value: s.load, Keys: s.keys}
	return s, nil
}

// storage is a certmagic.Storage. A value begins with the time of its writing, in timeFormat, and a line end:
// etcd itself knows revisions only.
type storage struct {
	acme.Reader
	client *clientv3.Client
	prefix string // with a slash at its end
	stop   context.CancelFunc

	mu   sync.Mutex
	held map[string]*concurrency.Session // by the name of the lock
}

const timeFormat = time.RFC3339Nano

// Close ends the connection.
func (s *storage) Close() error {
	s.stop()
	return s.client.Close()
}

// Store implements certmagic.Storage.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	ctx, done := context.WithTimeout(ctx, within)
	defer done()
	_, err := s.client.Put(ctx, s.prefix+key, time.Now().UTC().Format(timeFormat)+"\n"+string(value))
	return err
}

// load returns a value and the time of its writing.
func (s *storage) load(ctx context.Context, key string) (value []byte, written time.Time, err error) {
	ctx, done := context.WithTimeout(ctx, within)
	defer done()
	found, err := s.client.Get(ctx, s.prefix+key)
	if err != nil {
		return nil, written, err
	}
	if len(found.Kvs) == 0 {
		return nil, written, fs.ErrNotExist
	}
	head, body, _ := strings.Cut(string(found.Kvs[0].Value), "\n")
	if written, err = time.Parse(timeFormat, head); err != nil {
		return nil, written, fmt.Errorf("key %q of the storage of certificates has no time: %w", key, err)
	}
	return []byte(body), written, nil
}

// Delete implements certmagic.Storage: the key, and those below it.
func (s *storage) Delete(ctx context.Context, key string) error {
	ctx, done := context.WithTimeout(ctx, within)
	defer done()
	_, err := s.client.Txn(ctx).Then(
		clientv3.OpDelete(s.prefix+key),
		clientv3.OpDelete(s.prefix+strings.TrimRight(key, "/")+"/", clientv3.WithPrefix()),
	).Commit()
	return err
}

// keys returns the keys that begin with a prefix.
func (s *storage) keys(ctx context.Context, prefix string) (list []string, err error) {
	ctx, done := context.WithTimeout(ctx, within)
	defer done()
	found, err := s.client.Get(ctx, s.prefix+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	for _, kv := range found.Kvs {
		list = append(list, strings.TrimPrefix(string(kv.Key), s.prefix))
	}
	return list, nil
}

// Lock implements certmagic.Storage. The lock is kept until Unlock.
func (s *storage) Lock(ctx context.Context, name string) error {
	session, err := concurrency.NewSession(s.client, concurrency.WithTTL(lockLife), concurrency.WithContext(context.WithoutCancel(ctx)))
	if err != nil {
		return err
	}
	if err := concurrency.NewMutex(session, s.prefix+"locks/"+name).Lock(ctx); err != nil {
		session.Close()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[name] = session
	return nil
}

// Unlock implements certmagic.Storage.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	session := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if session == nil {
		return fmt.Errorf("lock %q is not held", name)
	}
	return session.Close() // which ends the lease, and the lock with it
}
