package cli

import (
	"context"
	"os"
	"time"

	"weir/internal/notify"
	"weir/server"
)

// watchdog makes sure, as often as the service manager expects a sign of life, that the server
// serves. The zero watchdog is off.
type watchdog struct {
	interval time.Duration
	tick     <-chan time.Time // when a sign of life is due; nil if none is expected
	verdict  chan error       // of the question under way
	asking   bool
}

// start begins to watch if the service manager expects that. stop ends it.
func (w *watchdog) start() (stop func(), err error) {
	if w.interval, err = notify.WatchdogInterval(os.Getpid(), os.Getenv); err != nil || w.interval == 0 {
		return func() {}, err
	}
	ticker := time.NewTicker(w.interval)
	w.tick, w.verdict = ticker.C, make(chan error, 1)
	return ticker.Stop, nil
}

// ask makes the server show that it serves; the verdict follows within the interval. A question that is
// still under way is not asked again.
func (w *watchdog) ask(s *server.Server) {
	if w.asking {
		return
	}
	w.asking = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), w.interval)
		defer cancel()
		w.verdict <- s.Alive(ctx)
	}()
}

// heard handles a verdict: without a sign of life the service manager starts weir again.
func (p *process) heard(err error) {
	p.watchdog.asking = false
	if err != nil {
		p.log.Error("the service manager gets no sign of life", "error", err)
		return
	}
	p.tell(p.manager.Watchdog())
}
