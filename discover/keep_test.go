package discover_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/discover"
	"weir/lb"
)

// registrar notes what it is told, and how the service is.
type registrar struct {
	mu   sync.Mutex
	told []string
	fail error
	ill  error
}

// set changes how the service and the registry are.
func (r *registrar) set(ill, fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ill, r.fail = ill, fail
}

func (r *registrar) healthy(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ill
}

// note notes what the registry is told.
func (r *registrar) note(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, text)
	return r.fail
}

func (r *registrar) Put(_ context.Context, e discover.Entry, ttl time.Duration) error {
	return r.note(fmt.Sprint("put ", e.Name, "/", e.Version, " ", e.URL, " ", e.Drain, " ", ttl))
}

func (r *registrar) Withdraw(_ context.Context, e discover.Entry) error {
	return r.note("withdraw " + e.URL)
}

func (r *registrar) Close() error { return nil }

// An endpoint is registered while its service is well, and drained before it is withdrawn.
func TestKeeper(t *testing.T) {
	run := func(t *testing.T, r *registrar, f func(check func(what, want string), stop, gone chan struct{})) {
		synctest.Test(t, func(t *testing.T) {
			stop, gone, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			r.set(errors.New("not yet"), nil)
			k := discover.Keeper{
				Registrar: r, Entry: discover.Entry{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: "http://a"}}, TTL: 9 * time.Second,
				Drain: 5 * time.Second, Healthy: r.healthy, Every: time.Second, Log: slog.New(slog.DiscardHandler),
			}
			go func() {
				k.Run(stop, gone)
				close(done)
			}()
			time.Sleep(500 * time.Millisecond)
			f(func(what, want string) {
				t.Helper()
				synctest.Wait()
				r.mu.Lock()
				defer r.mu.Unlock()
				equal(t, what, strings.Join(r.told, ", "), want)
				r.told = nil
			}, stop, gone)
			<-done
		})
	}
	const put, drain, withdraw = "put shop/v1 http://a false 9s", "put shop/v1 http://a true 9s", "withdraw http://a"
	r := new(registrar)
	run(t, r, func(check func(what, want string), stop, gone chan struct{}) {
		check("ill from the start", "")
		r.set(nil, nil)
		time.Sleep(time.Second)
		check("well", put)
		time.Sleep(2 * time.Second)
		check("before the sign of life", "")
		time.Sleep(time.Second)
		check("a sign of life", put)
		r.set(errors.New("ill"), nil)
		time.Sleep(time.Second)
		check("ill once", "")
		time.Sleep(time.Second)
		check("ill twice", withdraw)
		time.Sleep(time.Minute)
		check("ill for long", "")
		r.set(nil, nil)
		time.Sleep(time.Second)
		check("well again", put)
		close(stop)
		check("stopping", drain)
		time.Sleep(4 * time.Second)
		check("still stopping", drain)
		time.Sleep(time.Second)
		check("stopped", withdraw)
	})
	run(t, r, func(check func(what, want string), stop, gone chan struct{}) {
		r.set(nil, errors.New("no registry"))
		time.Sleep(2 * time.Second)
		check("the registry fails", put+", "+put)
		r.set(nil, nil)
		time.Sleep(time.Second)
		check("it works", put)
		time.Sleep(time.Second)
		check("no more than needed", "")
		close(gone)
		check("the service has ended", withdraw)
	})
	run(t, r, func(check func(what, want string), stop, gone chan struct{}) {
		r.set(nil, nil)
		time.Sleep(time.Second)
		check("well", put)
		r.set(errors.New("ill"), errors.New("no registry"))
		time.Sleep(3 * time.Second)
		check("withdrawn in vain", withdraw+", "+withdraw)
		r.set(errors.New("ill"), nil)
		time.Sleep(10 * time.Second)
		check("withdrawn", withdraw)
		r.set(nil, errors.New("no answer")) // which may be lost on its way back
		time.Sleep(time.Second)
		check("perhaps registered", put)
		close(gone)
		check("the service has ended", withdraw)
	})
}
