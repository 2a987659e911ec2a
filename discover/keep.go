package discover

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// Keeper keeps an endpoint in a registry while its service is well.
type Keeper struct {
	// Registrar is the registry. Run does not close it.
	Registrar Registrar
	// Entry is what is registered.
	Entry Entry
	// TTL is after how long without a sign of life the registry drops the endpoint.
	TTL time.Duration
	// Drain is how long the endpoint is registered as one that drains before Run withdraws it
	// at its end.
	Drain time.Duration
	// Healthy says whether the service is well, and nil means that it is. ctx bounds it.
	Healthy func(ctx context.Context) error
	// Every is the time from one look at the service to the next.
	Every time.Duration
	// Log gets what happens.
	Log *slog.Logger
}

const (
	// illnesses is how many looks in a row must find the service ill before it is withdrawn.
	illnesses = 2
	// callTime bounds a call of the registry, and lookTime a look at the service.
	callTime = 5 * time.Second
	lookTime = 2 * time.Second
)

// Run registers the endpoint whenever the service is well, and withdraws it whenever it is
// not. When stop is closed, Run drains the endpoint, withdraws it and returns. When gone is
// closed, because the service has ended, it withdraws the endpoint at once and returns. That
// the registry fails is logged, and tried again.
func (k *Keeper) Run(stop, gone <-chan struct{}) {
	s := keeping{Keeper: k}
	tick := time.NewTicker(k.Every)
	defer tick.Stop()
	for {
		s.look()
		select {
		case <-tick.C:
		case <-gone:
			s.withdraw("the service has ended")
			return
		case <-stop:
			s.drain(gone)
			return
		}
	}
}

// keeping is one Run.
type keeping struct {
	*Keeper
	registered bool
	// there says that the registry may have the endpoint: also after an attempt whose answer did not come.
	there   bool
	ill     int // looks in a row that found the service ill
	next    time.Time
	failing bool
}

// look looks at the service, and registers or withdraws the endpoint.
func (s *keeping) look() {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	err := s.Healthy(ctx)
	cancel()
	if err != nil {
		if s.ill++; s.there && s.ill >= illnesses {
			s.withdraw("the service is ill: " + err.Error())
		}
		return
	}
	s.ill = 0
	if !s.registered || !time.Now().Before(s.next) {
		s.put(s.Entry)
	}
}

// put registers e, or is its sign of life.
func (s *keeping) put(e Entry) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	s.there = true
	if err := s.Registrar.Put(ctx, e, s.TTL); err != nil {
		s.failed("the registry fails, it is tried again", err)
		return
	}
	if s.failing || !s.registered {
		s.Log.Info("registered", "service", UpstreamName(e.Name, e.Version), "endpoint", e.URL)
	}
	s.failing, s.registered, s.next = false, true, time.Now().Add(s.TTL/3)
}

// failed notes that the registry fails, and logs the first time.
func (s *keeping) failed(what string, err error) {
	if !s.failing {
		s.Log.Warn(what, "error", err)
	}
	s.failing = true
}

// drain registers the endpoint as one that drains, waits, and withdraws it.
func (s *keeping) drain(gone <-chan struct{}) {
	if s.registered && s.Drain > 0 {
		e := s.Entry
		e.Drain = true
		s.Log.Info("draining before the service stops", "for", s.Drain)
		end := time.NewTimer(s.Drain)
		defer end.Stop()
		again := time.NewTicker(s.TTL / 3)
		defer again.Stop()
		for waiting := true; waiting; {
			s.put(e)
			select {
			case <-again.C:
			case <-end.C:
				waiting = false
			case <-gone:
				waiting = false
			}
		}
	}
	s.withdraw("it stops")
}

// withdraw removes the endpoint.
func (s *keeping) withdraw(reason string) {
	if !s.there {
		return
	}
	s.registered = false
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if err := s.Registrar.Withdraw(ctx, s.Entry); err != nil {
		s.failed(fmt.Sprintf("cannot withdraw, the endpoint goes by itself after %s", s.TTL), err)
		return
	}
	s.Log.Info("withdrawn", "reason", reason)
	s.there, s.failing = false, false
}
