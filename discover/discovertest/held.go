package discovertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"weir/discover"
	"weir/lb"
)

// Held shows that nothing is lost while a network passes nothing on, and that traffic follows what has changed meanwhile
// once it does again. hold makes that begin and end; the place's Set does not need the network. log may be nil.
func Held(p Place, hold func(bool), log *slog.Logger) error {
	s, err := newShow(p, Options{Rate: 100}, log)
	if err != nil {
		return err
	}
	defer s.close()
	up := func(want string) func() bool {
		return func() bool {
			var text bytes.Buffer
			s.weir.WriteMetrics(&text)
			for line := range strings.Lines(text.String()) {
				if strings.HasPrefix(line, "weir_discovery_up{") {
					return strings.HasSuffix(line, " "+want+"\n")
				}
			}
			return false
		}
	}
	held := func() error {
		hold(true)
		return eventually("the source fails", up("0"))
	}
	change := func() error {
		err := s.add(2)
		hold(false)
		return err
	}
	err = s.step("held", held, change, s.used(2))
	err = errors.Join(err, eventually("the source is well", up("1")))
	for _, step := range s.steps {
		if step.Failed > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d of %d requests failed", step.Name, step.Failed, step.Requests))
		}
	}
	return err
}

// Registry is a registry that can be disturbed.
type Registry struct {
	// Hold makes the network pass nothing on, and ends that.
	Hold func(held bool)
	// Cut ends all connections.
	Cut func() error
	// Stop and Start restart the server.
	Stop, Start func() error
}

// disturbance is something that happens to a registry and is over again.
type disturbance struct {
	name       string
	begin, end func() error
	// forgets says that the registry drops the endpoint meanwhile.
	forgets bool
}

// Registered shows that an endpoint that registrar keeps registered is in the registry again after whatever happens to that. The endpoint is
// of version v1 of shop; present says whether it is there. A time to live is two seconds.
func Registered(registrar discover.Registrar, r Registry, present func() bool) (err error) {
	hold := func(held bool) func() error { return func() error { r.Hold(held); return nil } }
	list := []disturbance{
		{"held", hold(true), hold(false), true},
		{"cut", r.Cut, r.Cut, false},
		{"restarted", r.Stop, r.Start, false},
		{"held again", hold(true), hold(false), true},
	}
	e := discover.Entry{Name: "shop", Version: "v1", Endpoint: lb.Endpoint{URL: "http://10.0.0.1:8080", Weight: 1}}
	stop, gone, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	k := &discover.Keeper{
		Registrar: registrar, Entry: e, TTL: 2 * time.Second, Every: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Healthy: func(context.Context) error { return nil },
	}
	go func() {
		defer close(ended)
		k.Run(stop, gone)
	}()
	defer func() {
		close(gone)
		<-ended
		err = errors.Join(err, registrar.Close())
	}()
	if err := eventually("the endpoint is registered", present); err != nil {
		return err
	}
	for _, d := range list {
		if err := d.begin(); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if d.forgets {
			if err := eventually(d.name+": the endpoint is gone", func() bool { return !present() }); err != nil {
				return err
			}
		}
		if err := d.end(); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if err := eventually(d.name+": the endpoint is registered again", present); err != nil {
			return err
		}
	}
	return nil
}
