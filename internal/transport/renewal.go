package transport

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// lookupLimit bounds a lookup that no exchange waits for.
	lookupLimit = 5 * time.Second
	// ageSpread is the part of a connection's highest age that chance takes off, so that
	// connections which were made together are not replaced together.
	ageSpread = 0.1
	// missesLeast is how many lookups in a row must lack an address: name servers that do not
	// agree yet answer by turns.
	missesLeast = 2
)

// renewal sees that connections are not used for ever: they are old once they have reached
// the highest age, the target's name has lost their address, or the files of its TLS have changed. An old connection serves its
// exchange to the end and no other one.
type renewal struct {
	age    time.Duration // 0: any
	every  time.Duration // from one lookup to the next; 0: none
	names  *names        // nil if the target has no name
	onGone func()        // called when addresses are gone
	ctx    context.Context
	end    context.CancelFunc // ends lookups

	mu sync.Mutex
	// open are the connections that are not old, if lookups are made or there are such files.
	open map[*Conn]struct{}
	// files says that there are files of TLS, and era how often they have changed.
	files bool
	era   int
	// looks is set while there are connections, and calls look.
	looks *time.Timer
}

// renewable is what renewal knows about a connection.
type renewable struct {
	aging *time.Timer // nil: none
	addr  netip.Addr  // invalid if it is not looked up
	// misses is how many lookups in a row lacked addr; renewal.mu guards it.
	misses int
}

func newRenewal(age, every time.Duration, n *names, onGone func()) *renewal {
	r := &renewal{age: age, every: every, names: n, onGone: onGone, open: map[*Conn]struct{}{}}
	r.ctx, r.end = context.WithCancel(context.Background())
	return r
}

// current returns what enter wants to know: the era before a connection was begun.
func (r *renewal) current() (era int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.era
}

// changed makes all connections old, because the files of TLS have changed.
func (r *renewal) changed() {
	r.mu.Lock()
	r.era++
	for c := range r.open {
		c.old.Store(true)
	}
	clear(r.open)
	r.mu.Unlock()
	r.onGone()
}

// enter takes in a new connection, which was begun in an era.
func (r *renewal) enter(c *Conn, era int) {
	if r.age > 0 {
		age := r.age - time.Duration(float64(r.age)*ageSpread*rand.Float64())
		c.renewable.aging = time.AfterFunc(age, func() { c.old.Store(true) })
	}
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	looked := r.every > 0 && r.names != nil && ok
	if !looked && !r.files {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if era != r.era {
		c.old.Store(true)
		return
	}
	c.renewal = r
	r.open[c] = struct{}{}
	if looked {
		c.renewable.addr = tcp.AddrPort().Addr().Unmap()
	}
	if looked && r.looks == nil {
		r.looks = time.AfterFunc(r.every, r.look)
	}
}

// leave forgets a connection that is being closed.
func (r *renewal) leave(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
}

// look resolves the name again.
func (r *renewal) look() {
	ctx, cancel := context.WithTimeout(r.ctx, lookupLimit)
	found, err := r.names.resolve(ctx)
	cancel()
	if r.judge(found, err == nil) {
		r.onGone()
	}
}

// judge makes connections old whose address was not found. It reports whether there were
// any, and sees that look is called again as long as there are connections.
func (r *renewal) judge(found []netip.Addr, known bool) (gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		switch {
		case !known, !c.renewable.addr.IsValid():
		case slices.Contains(found, c.renewable.addr):
			c.renewable.misses = 0
		default:
			if c.renewable.misses++; c.renewable.misses >= missesLeast {
				c.old.Store(true)
				delete(r.open, c)
				gone = true
			}
		}
	}
	if len(r.open) == 0 || r.ctx.Err() != nil {
		r.looks = nil
		return gone
	}
	r.looks.Reset(r.every)
	return gone
}
