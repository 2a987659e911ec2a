// Package redis is a far tier in Redis or Valkey that many weirs share. It
// keeps bytes for package cache and knows nothing of entries; a server that is
// slow or gone costs a counter, never a request. Only main imports it and
// attaches it to a store.
package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"weir/cache/tier"
	"weir/config"
)

const (
	// markTime is how long announcements stay, which is longer than any entry.
	markTime = 26 * time.Hour
	// block is how long one wait for announcements takes, and fresh how long
	// after the last one entries are still believed.
	block = 500 * time.Millisecond
	fresh = 3 * time.Second
	// page is how many announcements are read at once.
	page = 1000
	// longKey is from where on keys are hashed.
	longKey = 256
	// commandTimeout bounds a command that no client waits for.
	commandTimeout = 2 * time.Second
)

// Tier is a tier.Tier. Use New.
type Tier struct {
	option   rueidis.ClientOption
	prefix   string
	timeout  time.Duration
	failures int32
	cooldown time.Duration

	client atomic.Pointer[rueidis.Client]
	// seen is when the announcements were read last, in ns; 0 before all of
	// the past ones were.
	seen atomic.Int64
	// failed counts failures in a row; openUntil is when the circuit closes.
	failed    atomic.Int32
	openUntil atomic.Int64

	stop context.CancelFunc
	ends sync.WaitGroup
}

// New makes a tier of what the configuration says. It connects in Start.
func New(c *config.CacheFar) (*Tier, error) {
	scheme, rest, ok := strings.Cut(c.URL, "://")
	if !ok {
		return nil, fmt.Errorf("cannot use far cache URL: expected redis://host:port or rediss://host:port")
	}
	// Several hosts are the addresses of one cluster.
	credentials, hosts := "", rest
	path := ""
	if i := strings.IndexAny(hosts, "/?"); i >= 0 {
		hosts, path = hosts[:i], hosts[i:]
	}
	if i := strings.LastIndexByte(hosts, '@'); i >= 0 {
		credentials, hosts = hosts[:i+1], hosts[i+1:]
	}
	list := strings.Split(hosts, ",")
	option, err := rueidis.ParseURL(scheme + "://" + credentials + list[0] + path)
	if err != nil {
		// The error may show the URL, and that the password.
		return nil, fmt.Errorf("cannot use far cache URL with hosts %q: expected redis://host:port/db, rediss:// for TLS", hosts)
	}
	for _, host := range list[1:] {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(host, "6379")
		}
		option.InitAddress = append(option.InitAddress, host)
	}
	if option.TLSConfig != nil {
		// Each node of a cluster is to prove its own name, not the first one's.
		option.TLSConfig.ServerName = ""
		if option.TLSConfig.RootCAs, err = authorities(c.CA); err != nil {
			return nil, err
		}
	}
	option.DisableCache = true
	option.DisableRetry = true
	option.ForceSingleClient = len(list) == 1
	option.ClientName = "weir"
	option.Dialer.Timeout = commandTimeout
	option.ConnWriteTimeout = commandTimeout
	return &Tier{
		option: option, prefix: c.Prefix, timeout: c.Timeout.D(),
		failures: int32(max(c.Failures, 1)), cooldown: c.Cooldown.D(),
	}, nil
}

// authorities reads those to trust; nil, the system's, if path is empty.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the far cache's authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("cannot use the far cache's authorities %q: found no certificate, want PEM", path)
	}
	return pool, nil
}

// Name implements tier.Tier.
func (t *Tier) Name() string { return "redis" }

// Start implements tier.Tier. A server that is not there yet is tried again.
func (t *Tier) Start(follow func([]byte)) error {
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.option.DialCtxFn = ending(ctx, t.option.DialCtxFn)
	t.ends.Go(func() { t.run(ctx, follow) })
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

// dial makes a connection as the client library wants it.
type dial func(ctx context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error)

// ending returns a dial whose connections close when ctx ends: a command that
// waits for announcements would hold up Close. With nil it dials as the client
// library does by itself.
func ending(ctx context.Context, with dial) dial {
	if with == nil {
		with = func(ctx context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
			if secure == nil {
				return d.DialContext(ctx, "tcp", address)
			}
			return (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", address)
		}
	}
	return func(dialing context.Context, address string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
		c, err := with(dialing, address, d, secure)
		if err != nil {
			return nil, err
		}
		return &conn{c, context.AfterFunc(ctx, func() { c.Close() })}, nil
	}
}

// conn is a connection that its tier closes in the end.
type conn struct {
	net.Conn
	forget func() bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// run connects and then reads announcements, again and again.
func (t *Tier) run(ctx context.Context, follow func([]byte)) {
	last := "0"
	caughtUp := false
	for ctx.Err() == nil {
		client := t.client.Load()
		if client == nil {
			c, err := rueidis.NewClient(t.option)
			if err != nil {
				t.pause(ctx)
				continue
			}
			client = &c
			t.client.Store(client)
		}
		c := *client
		cmd := t.read(c, last, caughtUp)
		bounded, done := context.WithTimeout(ctx, commandTimeout+block)
		streams, err := c.Do(bounded, cmd).AsXRead()
		done()
		if err != nil && !rueidis.IsRedisNil(err) {
			t.pause(ctx)
			continue
		}
		list := streams[t.stream()]
		for _, m := range list {
			follow([]byte(m.FieldValues["m"]))
			last = m.ID
		}
		caughtUp = caughtUp || len(list) < page
		if caughtUp {
			t.seen.Store(time.Now().UnixNano())
		}
	}
}

// read is the command that reads the announcements after last. It waits for some
// only once the past ones are read: until then the tier is of no use.
func (t *Tier) read(c rueidis.Client, last string, wait bool) rueidis.Completed {
	some := c.B().Xread().Count(page)
	if !wait {
		return some.Streams().Key(t.stream()).Id(last).Build()
	}
	return some.Block(block.Milliseconds()).Streams().Key(t.stream()).Id(last).Build()
}

// pause waits a moment before trying again.
func (t *Tier) pause(ctx context.Context) {
	timer := time.NewTimer(block)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (t *Tier) stream() string { return t.prefix + "marks" }

// key is where a key lives.
func (t *Tier) key(key []byte) string {
	if len(key) <= longKey {
		return t.prefix + string(key)
	}
	sum := sha256.Sum256(key)
	return t.prefix + "sha256:" + hex.EncodeToString(sum[:])
}

// ready returns the client if entries can be believed: the circuit is closed,
// and the announcements are known.
func (t *Tier) ready(now int64) rueidis.Client {
	c := t.client.Load()
	if c == nil || now-t.seen.Load() > int64(fresh) || now < t.openUntil.Load() {
		return nil
	}
	return *c
}

// Get implements tier.Tier.
func (t *Tier) Get(key []byte) ([]byte, tier.Blob, error) {
	now := time.Now().UnixNano()
	c := t.ready(now)
	if c == nil {
		return nil, nil, tier.ErrUnavailable
	}
	ctx, done := context.WithTimeout(context.Background(), t.timeout)
	defer done()
	b, err := c.Do(ctx, c.B().Get().Key(t.key(key)).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		err = nil
	}
	t.judge(now, err)
	return b, nil, err
}

// judge opens the circuit after failures in a row.
func (t *Tier) judge(now int64, err error) {
	if err == nil {
		t.failed.Store(0)
		return
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
	now := time.Now().UnixNano()
	c := t.ready(now)
	if c == nil {
		return tier.ErrUnavailable
	}
	ctx, done := context.WithTimeout(context.Background(), commandTimeout)
	defer done()
	err := c.Do(ctx, c.B().Set().Key(t.key(key)).Value(rueidis.BinaryString(value)).PxMilliseconds(max(ttl.Milliseconds(), 1)).Build()).Error()
	t.judge(now, err)
	return err
}

// Announce implements tier.Tier.
func (t *Tier) Announce(message []byte) error {
	client := t.client.Load()
	if client == nil {
		return tier.ErrUnavailable
	}
	c := *client
	ctx, done := context.WithTimeout(context.Background(), commandTimeout)
	defer done()
	oldest := strconv.FormatInt(time.Now().Add(-markTime).UnixMilli(), 10)
	return c.Do(ctx, c.B().Xadd().Key(t.stream()).Minid().Almost().Threshold(oldest).Id("*").
		FieldValue().FieldValue("m", rueidis.BinaryString(message)).Build()).Error()
}

var _ tier.Tier = (*Tier)(nil)
