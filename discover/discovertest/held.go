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

// Disturbance is something that happens to a registry and is over again.
type Disturbance struct {
	Name       string
	Begin, End func() error
	// Forgets says that the registry drops the endpoint meanwhile.
	Forgets bool
}

// Registered shows that an endpoint that r keeps registered is in the registry again after each disturbance; present says
// whether it is there. A time to live is two seconds.
func Registered(r discover.Registrar, e discover.Entry, present func() bool, list ...Disturbance) (err error) {
	stop, gone, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	k := &discover.Keeper{
		Registrar: r, Entry: e, TTL: 2 * time.Second, Every: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Healthy: func(context.Context) error { return nil },
	}
	go func() {
		defer close(ended)
		k.Run(stop, gone)
	}()
	defer func() {
		close(gone)
		<-ended
		err = errors.Join(err, r.Close())
	}()
	if err := eventually("the endpoint is registered", present); err != nil {
		return err
	}
	for _, d := range list {
		if err := d.Begin(); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		if d.Forgets {
			if err := eventually(d.Name+": the endpoint is gone", func() bool { return !present() }); err != nil {
				return err
			}
		}
		if err := d.End(); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
		if err := eventually(d.Name+": the endpoint is registered again", present); err != nil {
			return err
		}
	}
	return nil
}
