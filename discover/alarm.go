package discover

import "time"

// alarm calls a function when the earliest of several times has come. A lock of its owner guards it, which
// the function takes.
type alarm struct {
	at    time.Time // when it rings; zero if it is not set
	timer *time.Timer
	over  bool
}

// init makes the alarm call f, on a goroutine of its own.
func (a *alarm) init(f func()) {
	a.timer = time.AfterFunc(time.Hour, f)
	a.timer.Stop()
}

// ringBy makes the alarm ring at the time t, or before; the zero t changes nothing.
func (a *alarm) ringBy(t time.Time) {
	if !a.over && !t.IsZero() && (a.at.IsZero() || t.Before(a.at)) {
		a.at = t
		a.timer.Reset(time.Until(t))
	}
}

// rang says that the function runs: the alarm may be set again.
func (a *alarm) rang() { a.at = time.Time{} }

// stop makes the alarm ring no more.
func (a *alarm) stop() {
	a.over = true
	a.timer.Stop()
}
