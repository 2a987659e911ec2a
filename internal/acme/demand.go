package acme

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/net/idna"

	"weir/config"
)

// errTooMany ends attempts on demand beyond certificates.on_demand.per_minute.
var errTooMany = errors.New("too many new certificates were asked for in this minute (certificates.on_demand.per_minute)")

// errRefused ends attempts for names that the application refuses.
var errRefused = errors.New("the application refuses the name")

const (
	// refusedFor is how long a name that the application has refused is refused without asking.
	refusedFor = time.Minute
	// mostRefused bounds the refused names that are remembered.
	mostRefused = 10_000
)

// demand gets certificates in handshakes.
type demand struct {
	source *source
	config *certmagic.Config
	url    *url.URL
	client *http.Client
	limit  rate
	keep   int // how many certificates

	mu      sync.Mutex
	refused map[string]time.Time // until when, by name
	waited  map[string]*wanted   // by name
}

func newDemand(o *config.OnDemand, s *source) *demand {
	u, err := url.Parse(o.Ask)
	if err != nil {
		panic("BUG: " + err.Error()) // package config has parsed it
	}
	return &demand{
		source: s, url: u, limit: rate{most: o.PerMinute}, keep: o.Keep, refused: make(map[string]time.Time), waited: make(map[string]*wanted),
		client: &http.Client{Timeout: o.Timeout.D(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// demand returns the certificate for a name that no listener has; nil if there is to be none, or none within
// limit. What was begun goes on when that has passed, or the client has left.
func (s *setup) demand(hello *tls.ClientHelloInfo, limit time.Duration) *tls.Certificate {
	if !isDemandable(hello.ServerName) {
		return nil
	}
	w := s.onDemand.wanted(hello)
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-w.done:
		return w.certificate
	case <-late.C:
	case <-s.onDemand.source.ctx.Done():
	}
	return nil
}

// isDemandable says whether a name that a client asks for is a host name as certificates have it, and no address (RFC 6066
// section 3). Others go no further, neither to the application nor to the log: anybody may send any, of up to 64 KiB.
func isDemandable(name string) bool {
	if !config.IsDNSName(name) {
		return false
	}
	ascii, err := idna.Lookup.ToASCII(name)
	return err == nil && strings.EqualFold(ascii, name)
}

// wanted is a certificate that clients wait for.
type wanted struct {
	done        chan struct{}    // closed when certificate is there, or will not be
	certificate *tls.Certificate // nil: there is none
}

// wanted returns what the clients who ask for a name at the same time wait for together.
func (d *demand) wanted(hello *tls.ClientHelloInfo) *wanted {
	name := strings.ToLower(hello.ServerName)
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.waited[name]
	if w != nil {
		return w
	}
	w = &wanted{done: make(chan struct{})}
	d.waited[name] = w
	d.source.background(func() {
		defer func() {
			d.mu.Lock()
			delete(d.waited, name)
			d.mu.Unlock()
			close(w.done)
		}()
		w.certificate = d.get(name, hello)
	})
	return w
}

// get gets the certificate for a handshake; nil if there is to be none.
func (d *demand) get(name string, hello *tls.ClientHelloInfo) *tls.Certificate {
	ctx, a := newAttempt(d.source.ctx, true)
	defer a.cancel()
	cert, err := d.config.GetCertificateWithContext(ctx, hello)
	if err = a.result(err); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, errRefused) {
			level = slog.LevelDebug // anybody can ask for any name
		}
		d.source.manager.log.Log(ctx, level, "no certificate on demand", "name", name, "error", err)
		return nil
	}
	d.source.demand(name, d.keep)
	return cert
}

// cached hears that a certificate is in memory from now on.
func (s *source) cached(names []string) {
	d := s.setup.Load().onDemand
	if d == nil || len(names) == 0 || (*s.names.Load())[names[0]] != nil {
		return
	}
	s.demand(names[0], d.keep) // here, because the client may have left meanwhile
}

// demand notes that the certificate of a name is used on demand. If there are more than keep of these certificates, the
// one that was used least recently leaves the memory.
func (s *source) demand(name string, keep int) {
	s.mu.Lock()
	s.demanded.use(name)
	var gone []string
	for s.demanded.order.Len() > keep {
		gone = append(gone, s.demanded.oldest())
	}
	s.mu.Unlock()
	for _, name := range gone {
		s.forget(name)
	}
}

// recent are names in the order of their last use.
type recent struct {
	order list.List // of string, the last used first
	at    map[string]*list.Element
}

func (r *recent) use(name string) {
	if e := r.at[name]; e != nil {
		r.order.MoveToFront(e)
		return
	}
	r.at[name] = r.order.PushFront(name)
}

func (r *recent) remove(name string) {
	if e := r.at[name]; e != nil {
		r.order.Remove(e)
		delete(r.at, name)
	}
}

// oldest removes the name that was used least recently, and returns it.
func (r *recent) oldest() string {
	name := r.order.Back().Value.(string)
	r.remove(name)
	return name
}

// ask asks the application whether to get a certificate for a name.
func (d *demand) ask(ctx context.Context, name string) error {
	if d.isRefused(name) {
		return errRefused
	}
	u := *d.url
	q := u.Query()
	q.Set("domain", name)
	u.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	answer, err := d.client.Do(r)
	if err != nil {
		return fmt.Errorf("cannot ask the application: %w", err)
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, io.LimitReader(answer.Body, 4<<10)) // so that the connection can be used again
	if answer.StatusCode != http.StatusOK {
		d.refuse(name)
		return fmt.Errorf("%w, with status %d", errRefused, answer.StatusCode)
	}
	return nil
}

func (d *demand) isRefused(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.refused[name])
}

func (d *demand) refuse(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.refused) >= mostRefused {
		clear(d.refused)
	}
	d.refused[name] = time.Now().Add(refusedFor)
}

// rate bounds how often something may happen within a minute.
type rate struct {
	most int
	mu   sync.Mutex
	past []time.Time // of the last minute, the oldest first
}

// allow says whether it may happen now, and counts it if so.
func (r *rate) allow(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.past) > 0 && now.Sub(r.past[0]) >= time.Minute {
		r.past = r.past[1:]
	}
	if len(r.past) >= r.most {
		return false
	}
	r.past = append(r.past, now)
	return true
}
