// Package redis is a far tier in Redis or Valkey that many weirs share. It
// keeps bytes for package cache and knows nothing of entries; a server that is
// slow or gone costs a counter, never a request. Only main imports it and
// attaches it to a store.
package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"weir/cache/tier"
	"weir/config"
	"weir/internal/resp"
)

const (
	// fresh is how long after the announcements were read last entries are still believed.
	fresh = 3 * time.Second
	// longKey is from where on keys are hashed.
	longKey = 256
	// epochSize is what stands before each value.
	epochSize = 8
	// headRoom is what a value may have beside the body.
	headRoom = 1 << 20
	// commandTimeout is what background commands may take, and so may connecting.
	commandTimeout = 2 * time.Second
)

// Tier is a tier.Tier. Use New.
type Tier struct {
	option   rueidis.ClientOption
	prefix   string
	largest  int64
	timeout  time.Duration
	failures int32
	cooldown time.Duration

	client atomic.Pointer[rueidis.Client]
	// connected says that commands find a connection. gate keeps look-ups out while the
	// background makes one.
	connected atomic.Bool
	gate      sync.RWMutex
	// wall tells the time of the wall. began is when the tier was made, from which elapsed counts.
	wall  func() time.Time
	began time.Time
	// seen is when the announcements were read last, as elapsed says; 0 before all of
	// the past ones were.
	seen atomic.Int64
	// failed counts failures in a row; openUntil is when the circuit closes, as elapsed says.
	failed    atomic.Int32
	openUntil atomic.Int64
	// epoch is when the stream of purges was born, in ns. Values say when that was as they
	// were set.
	epoch atomic.Int64
	// announced counts announcements of purges.
	announced atomic.Uint32
	// wholly says that the server's user may not read parts of values.
	wholly atomic.Bool

	stop context.CancelFunc
	ends sync.WaitGroup
}

// New makes a tier of what the configuration says, for bodies of up to largest bytes. It connects in
// Start.
func New(c *config.CacheFar, largest config.Size) (*Tier, error) {
	port := "6379"
	if c.Sentinel != "" {
		port = "26379"
	}
	a, err := parseURL(c.URL, port)
	if err != nil {
		return nil, err
	}
	if a.db != 0 && len(a.hosts) > 1 && c.Sentinel == "" {
		return nil, fmt.Errorf("found database %d with several hosts: want 0, the only one that a cluster has", a.db)
	}
	option := rueidis.ClientOption{InitAddress: a.hosts, Username: a.username, Password: a.password, SelectDB: a.db}
	if a.tls {
		option.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if err := secure(&option, c); err != nil {
		return nil, err
	}
	if c.Sentinel != "" {
		option.Sentinel = rueidis.SentinelOption{
			MasterSet: c.Sentinel, Password: c.SentinelPassword, TLSConfig: option.TLSConfig,
			Dialer: net.Dialer{Timeout: commandTimeout}, TopologyRefreshInterval: 5 * time.Second,
		}
	}
	option.DisableCache = true
	option.DisableRetry = true
	option.PipelineMultiplex = -1 // one connection to each node, which connect makes
	option.ForceSingleClient = len(a.hosts) == 1
	option.ClientName = "weir"
	option.Dialer.Timeout = commandTimeout
	option.ConnWriteTimeout = commandTimeout
	return &Tier{
		wall: time.Now, began: time.Now(), largest: int64(largest), option: option, prefix: c.Prefix, timeout: c.Timeout.D(),
		failures: int32(max(c.Failures, 1)), cooldown: c.Cooldown.D(),
	}, nil
}

// secure sets what a connection by TLS needs.
func secure(o *rueidis.ClientOption, c *config.CacheFar) error {
	if o.TLSConfig == nil {
		return nil
	}
	// Each node of a cluster is to prove its own name, not the first one's.
	o.TLSConfig.ServerName = ""
	var err error
	if o.TLSConfig.RootCAs, err = config.LoadAuthorities(c.CA); err != nil {
		return fmt.Errorf("cannot use the far cache's authorities: %w", err)
	}
	if c.Cert == "" {
		return nil
	}
	if _, err := config.LoadKeyPair(c.Cert, c.Key); err != nil {
		return fmt.Errorf("cannot use the far cache's client certificate: %w", err)
	}
	// Read again for each connection, so that a renewed certificate counts.
	o.TLSConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := config.LoadKeyPair(c.Cert, c.Key)
		return &pair, err
	}
	return nil
}

// Name implements tier.Tier.
func (t *Tier) Name() string { return "redis" }

// Start implements tier.Tier. A server that is not there yet is tried again.
func (t *Tier) Start(f tier.Follower, from string) error {
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.option.DialCtxFn = background(ctx, resp.Bounded(t.option.DialCtxFn, 2*t.largest)) // a value is a body and its head
	t.ends.Go(func() { t.run(ctx, newWatch(f, from)) })
	return nil
}

// Close implements tier.Tier.
func (t *Tier) Close() error {
	t.stop()
	t.ends.Wait()
	if c := t.client.Swap(nil); c != nil {
		(*c).Close()
	}
	return nil
}

// key is where a key lives.
func (t *Tier) key(key []byte) string {
	if len(key) <= longKey {
		return t.prefix + string(key)
	}
	sum := sha256.Sum256(key)
	return t.prefix + "sha256:" + hex.EncodeToString(sum[:])
}

// elapsed is the time since the tier was made, in ns, whatever the clock of the wall does.
func (t *Tier) elapsed() int64 { return int64(time.Since(t.began)) }

// ready returns the client if entries can be believed: there is a connection, the circuit is
// closed, and the announcements are known.
func (t *Tier) ready(now int64) rueidis.Client {
	c, seen := t.client.Load(), t.seen.Load()
	if c == nil || !t.connected.Load() || seen == 0 || now-seen > int64(fresh) || now < t.openUntil.Load() {
		return nil
	}
	return *c
}

// Get implements tier.Tier.
func (t *Tier) Get(key []byte) ([]byte, tier.Blob, error) {
	now := t.elapsed()
	c := t.ready(now)
	if c == nil || !t.gate.TryRLock() {
		return nil, nil, tier.ErrUnavailable
	}
	defer t.gate.RUnlock()
	ctx, done := context.WithTimeout(noDial, t.timeout)
	defer done()
	b, err := t.value(ctx, c, t.key(key))
	t.judge(now, err)
	if len(b) < epochSize || int64(len(b)) > t.longest() || int64(binary.LittleEndian.Uint64(b)) != t.epoch.Load() {
		return nil, nil, err
	}
	return b[epochSize:], nil, err
}

// longest is how many bytes a value may have that is of any use here.
func (t *Tier) longest() int64 { return t.largest + headRoom }

// value reads a value; it returns nothing if the server has no such key. Of one that is too long, which a weir with a larger max_object has
// written, no more comes than shows that.
func (t *Tier) value(ctx context.Context, c rueidis.Client, key string) ([]byte, error) {
	if !t.wholly.Load() {
		b, err := c.Do(ctx, c.B().Getrange().Key(key).Start(0).End(t.longest()).Build()).AsBytes()
		if e, answered := rueidis.IsRedisErr(err); !answered || !strings.HasPrefix(e.Error(), "NOPERM") {
			return b, err
		}
		t.wholly.Store(true)
	}
	b, err := c.Do(ctx, c.B().Get().Key(key).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		err = nil
	}
	return b, err
}

// judge opens the circuit after failures in a row.
func (t *Tier) judge(now int64, err error) {
	if err == nil {
		t.failed.Store(0)
		return
	}
	if _, answered := rueidis.IsRedisErr(err); !answered && !errors.Is(err, context.DeadlineExceeded) {
		t.connected.Store(false)
	}
	if t.failed.Add(1) >= t.failures {
		t.failed.Store(0)
		t.openUntil.Store(now + int64(t.cooldown))
	}
}

// Shared implements tier.Tier.
func (t *Tier) Shared() bool { return true }

// Blobs implements tier.Tier: there are none.
func (t *Tier) Blobs() tier.Blobs { return nil }

// Set implements tier.Tier.
func (t *Tier) Set(key, value []byte, _ tier.Blob, ttl time.Duration) error {
	now := t.elapsed()
	c := t.ready(now)
	if c == nil || !t.gate.TryRLock() {
		return tier.ErrUnavailable
	}
	defer t.gate.RUnlock()
	ctx, done := context.WithTimeout(noDial, commandTimeout)
	defer done()
	b := make([]byte, 0, epochSize+len(value))
	b = append(binary.LittleEndian.AppendUint64(b, uint64(t.epoch.Load())), value...)
	err := c.Do(ctx, c.B().Set().Key(t.key(key)).Value(rueidis.BinaryString(b)).PxMilliseconds(max(ttl.Milliseconds(), 1)).Build()).Error()
	if err == nil {
		return nil
	}
	if _, answered := rueidis.IsRedisErr(err); answered {
		return reason(err) // a server that is full answers look-ups all the same
	}
	t.judge(now, err)
	return tier.Unanswered{Err: reason(err)}
}

var _ tier.Tier = (*Tier)(nil)
