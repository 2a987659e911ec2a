package main

import (
	"errors"
	"fmt"
	"syscall"
	"time"
)

// step is something that is done to a running stage.
type step struct {
	at   time.Duration
	name string
	do   func(s *stage) error
}

// steps are what happens while requests are sent.
func steps() []step {
	on := func(i int, f func(t *target) error) func(*stage) error {
		return func(s *stage) error { return f(s.targets[i-1]) }
	}
	both := func(f func(t *target) error) func(*stage) error {
		return func(s *stage) error { return errors.Join(f(s.targets[0]), f(s.targets[2])) }
	}
	mode := func(name string) func(*target) error { return func(t *target) error { return t.mode(name) } }
	signal := func(sig syscall.Signal) func(*target) error {
		return func(t *target) error { return t.signal(sig) }
	}
	return []step{
		{0, "all is well", func(*stage) error { return nil }},
		{3 * time.Second, "target 1 is killed (SIGKILL)", on(1, (*target).kill)},
		{6 * time.Second, "target 1 is started again", on(1, (*target).start)},
		{8 * time.Second, "target 2 is stopped (SIGSTOP): it accepts and never answers", on(2, signal(syscall.SIGSTOP))},
		{11 * time.Second, "weir is reloaded", (*stage).reload},
		{13 * time.Second, "target 2 goes on (SIGCONT)", on(2, signal(syscall.SIGCONT))},
		{15 * time.Second, "target 3 answers 503", on(3, mode("503"))},
		{17 * time.Second, "weir is reloaded", (*stage).reload},
		{19 * time.Second, "target 3 is well again", on(3, mode("well"))},
		{21 * time.Second, "target 1 gets 500 ms slow", on(1, mode("slow"))},
		{25 * time.Second, "target 1 is fast again", on(1, mode("well"))},
		{26 * time.Second, "target 2 is killed, and weir is reloaded at once", func(s *stage) error {
			if err := s.targets[1].kill(); err != nil {
				return err
			}
			return s.reload()
		}},
		{28 * time.Second, "target 2 is started again", on(2, (*target).start)},
		{30 * time.Second, "targets 1 and 3 are killed at once", both((*target).kill)},
		{32 * time.Second, "targets 1 and 3 are started again", both((*target).start)},
	}
}

// length is how long the steps take.
const length = 34 * time.Second

// play sends requests while the steps are taken.
func (s *stage) play(r *report) error {
	// Connections and pools are filled before anything counts.
	warm := make(chan struct{})
	time.AfterFunc(2*time.Second, func() { close(warm) })
	(&clients{address: s.listen}).send(r.rate, warm, "warm")

	before, err := s.attempts()
	if err != nil {
		return err
	}
	stop, done := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		r.answers = (&clients{address: s.listen}).send(r.rate, stop, "r")
	}()
	err = s.take(r, start)
	time.Sleep(time.Until(start.Add(length)))
	close(stop)
	<-done
	if err != nil {
		return err
	}
	after, err := s.attempts()
	if err != nil {
		return err
	}
	r.attempts = after - before
	s.count(r)
	return nil
}

// take takes the steps.
func (s *stage) take(r *report, start time.Time) error {
	for _, p := range steps() {
		time.Sleep(time.Until(start.Add(p.at)))
		r.phases = append(r.phases, phase{name: p.name, from: time.Now(), at: p.at})
		if err := p.do(s); err != nil {
			return fmt.Errorf("cannot do %q: %w", p.name, err)
		}
	}
	return nil
}

// count counts what the targets did with the POSTs.
func (s *stage) count(r *report) {
	time.Sleep(slowness) // for what they still had to say
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range r.answers {
		if a.method != post {
			continue
		}
		n := s.acted[post+" "+a.id]
		if n > 1 {
			r.doubled++
		}
		if a.err != nil && n > 0 {
			r.actedLost++
		}
		if a.err == nil && n == 0 {
			r.invented++
		}
	}
}

// allDead kills every target and sees what clients get, and how soon one that
// is back is used.
func (s *stage) allDead(r *report) error {
	for _, t := range s.targets {
		if err := t.kill(); err != nil {
			return err
		}
	}
	var err error
	if r.dead, err = s.without(r.rate/2, "dead"); err != nil {
		return err
	}
	if err := s.targets[0].start(); err != nil {
		return err
	}
	start := time.Now()
	c := &clients{address: s.listen}
	defer c.close()
	for n := 0; ; n++ {
		a := c.one(get, fmt.Sprintf("back%d", n), time.Now())
		if a.err == nil {
			r.recovery = time.Since(start)
			break
		}
		if time.Since(start) > answerTimeout {
			return fmt.Errorf("weir does not use a target that is back: %w", a.err)
		}
		time.Sleep(time.Millisecond)
	}
	for _, t := range s.targets[1:] {
		if err := t.start(); err != nil {
			return err
		}
	}
	return nil
}

// allBusy makes every target answer 503 and counts what they get of it.
func (s *stage) allBusy(r *report) error {
	time.Sleep(11 * time.Second) // all are used again, and the budget knows of nothing else
	for _, t := range s.targets {
		if err := t.mode("503"); err != nil {
			return err
		}
	}
	var err error
	r.busy, err = s.without(r.rate/2, "busy")
	return err
}

// without sends requests for five seconds while nothing can answer them.
func (s *stage) without(rate int, prefix string) (o outage, err error) {
	before, err := s.attempts()
	if err != nil {
		return o, err
	}
	stop := make(chan struct{})
	time.AfterFunc(5*time.Second, func() { close(stop) })
	o.answers = (&clients{address: s.listen}).send(rate, stop, prefix)
	after, err := s.attempts()
	o.attempts = after - before
	return o, err
}
