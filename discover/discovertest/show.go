package discovertest

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"weir/config"
	"weir/lb"
	"weir/server"
)

const (
	// longest bounds the wait until traffic has followed, and until a server is there again.
	longest = time.Minute
	// settled is how many answers in a row say that one origin gets no more requests, or
	// that it has the share of its weight.
	settled = 40
	// count is the number of origins. beside is the one that the place never has.
	count  = 8
	beside = 7
	// heavy is the weight of the origin that gets most requests.
	heavy = 9
)

// show is a weir with traffic, and what the place has.
type show struct {
	Place
	*origins
	*traffic
	o     Options
	weir  *server.Server
	list  []lb.Endpoint
	steps []Step
}

// Show starts a weir whose only target is the place's URL, and does all that can happen to the place,
// one thing after the other. An error says that traffic did not follow, or that something
// could not be done; failed requests are in the steps. log may be nil.
func Show(p Place, o Options, log *slog.Logger) ([]Step, error) {
	s, err := newShow(p, o, log)
	if err != nil {
		return nil, err
	}
	defer s.close()
	err = s.run()
	if problem := s.failed.Load(); problem != nil {
		err = errors.Join(err, errors.New("a request failed: "+*problem))
	}
	return s.steps, err
}

// newShow starts a weir with traffic, whose only target is the place's URL. The caller closes it.
func newShow(p Place, o Options, log *slog.Logger) (_ *show, err error) {
	s := &show{Place: p, o: o}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.origins, err = listen(); err != nil {
		return nil, err
	}
	if err := s.set(s.endpoint(0, 1), s.endpoint(1, 1)); err != nil {
		return nil, err
	}
	cfg, err := s.config(1, false)
	if err != nil {
		return nil, err
	}
	if s.weir, err = start(cfg, p, log); err != nil {
		return nil, err
	}
	address := s.weir.Addr("main").String()
	if err := s.ready(address); err != nil {
		return nil, err
	}
	s.traffic = send(address, o.Rate)
	return s, nil
}

// close ends what newShow has started.
func (s *show) close() {
	if s.traffic != nil {
		s.traffic.close()
	}
	if s.weir != nil {
		s.weir.Close()
	}
	if s.origins != nil {
		s.origins.close()
	}
}

// config returns a configuration that gives the place a weight, with the origin beside as another target if that is asked for.
func (s *show) config(weight int, withBeside bool) (*config.Config, error) {
	targets := []string{fmt.Sprintf("{ url = %q, weight = %d }", s.URL(s.port), weight)}
	if withBeside {
		targets = append(targets, fmt.Sprintf("{ url = %q, weight = %d }", s.endpoint(beside, 1).URL, heavy))
	}
	return parse(targets, "")
}

// reload makes weir have that configuration.
func (s *show) reload(weight int, withBeside bool) error {
	cfg, err := s.config(weight, withBeside)
	if err != nil {
		return err
	}
	return s.weir.Reload(cfg)
}

// parse returns a configuration with targets, which are TOML, and with settings besides.
func parse(targets []string, settings string) (*config.Config, error) {
	return config.Parse("discovertest", fmt.Appendf(nil, `
access_log.output = "off"
admin.address = "127.0.0.1:0"
listeners = [{ name = "main", address = "127.0.0.1:0" }]
routes = [{ upstream = "found" }]
upstreams.found.targets = [%s]
%s`, strings.Join(targets, ", "), settings))
}

// start starts a weir for a place; log may be nil.
func start(cfg *config.Config, p Place, log *slog.Logger) (*server.Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w, err := server.New(cfg, server.WithSchemes(p.Schemes...), server.WithResolver(p.Resolver), server.WithLog(log))
	if err != nil {
		return nil, err
	}
	if err := w.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// ready waits until the first request is answered.
func (s *show) ready(address string) error {
	t := send(address, 20)
	defer t.close()
	return eventually("the first endpoints are used", func() bool {
		return slices.ContainsFunc(t.since(0), func(a answer) bool { return a.from != "" })
	})
}

func eventually(what string, ok func() bool) error {
	for end := time.Now().Add(longest); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("in vain waited until %s", what)
		}
	}
	return nil
}

// set makes the place have these endpoints.
func (s *show) set(list ...lb.Endpoint) error {
	s.list = list
	return s.Set(list)
}

// add adds the origin of a number.
func (s *show) add(number int) error {
	return s.set(append(slices.Clone(s.list), s.endpoint(number, 1))...)
}

func (s *show) run() error {
	return errors.Join(
		s.step("add", nil, func() error { return s.add(2) }, s.used(2)),
		s.step("remove", nil, func() error { return s.set(s.endpoint(1, 1), s.endpoint(2, 1)) }, s.unused(0)),
		s.weights(),
		s.step("restart", func() error { return s.away(0) }, func() error { return s.add(3) }, s.used(3)),
		s.step("gone", func() error { return s.away(s.o.Gone) }, func() error { return s.add(4) }, s.used(4)),
		s.step("cut", s.Cut, func() error { return s.add(5) }, s.used(5)),
		s.step("nonsense", s.broken, func() error { return s.add(6) }, s.used(6)),
		s.step("remove", nil, func() error { return s.set(s.endpoint(2, 1)) }, s.unused(6)),
	)
}

// weights changes the weight of an endpoint or, if the place knows no weights, that of the place in the configuration.
func (s *show) weights() error {
	if !s.Unweighted {
		return s.step("weight", nil, func() error { return s.set(s.endpoint(1, heavy), s.endpoint(2, 1)) }, s.mostly(1))
	}
	begin := func() error { return s.reload(1, true) }
	change := func() error { return s.reload(heavy*heavy, true) }
	return errors.Join(s.step("weight", begin, change, s.mostly(1, 2)), s.reload(1, false))
}

// away stops the server for a while.
func (s *show) away(d time.Duration) error {
	if err := s.Stop(); err != nil {
		return err
	}
	time.Sleep(d)
	return s.Start()
}

// broken makes the server answer nonsense for a while.
func (s *show) broken() error {
	if err := s.Break(); err != nil {
		return err
	}
	time.Sleep(s.o.Broken)
	return s.Mend()
}

// step does what comes first, then changes what the place has, and waits until traffic follows.
func (s *show) step(name string, first, change func() error, follows func(since int, changed time.Time) (time.Time, bool)) error {
	begun := s.count()
	if first != nil {
		if err := first(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	since, changed := s.count(), time.Now()
	if err := change(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var at time.Time
	err := eventually("traffic followed: "+name, func() (ok bool) {
		at, ok = follows(since, changed)
		return ok
	})
	result := Step{Name: name, After: max(at.Sub(changed), 0)}
	for _, a := range s.since(begun) {
		result.Requests++
		if a.from == "" {
			result.Failed++
		}
	}
	s.steps = append(s.steps, result)
	return err
}

// used waits until the origin of a number answers.
func (s *show) used(number int) func(int, time.Time) (time.Time, bool) {
	return func(since int, changed time.Time) (time.Time, bool) {
		for _, a := range s.since(since) {
			if a.from == addressOf(number) {
				return a.at, true
			}
		}
		return changed, false
	}
}

// unused waits until the origin of a number answers no more, and has no connection.
func (s *show) unused(number int) func(int, time.Time) (time.Time, bool) {
	return func(since int, changed time.Time) (time.Time, bool) {
		last, others := changed, 0
		for _, a := range s.since(since) {
			if others++; a.from == addressOf(number) {
				last, others = a.at, 0
			}
		}
		return last, others >= settled && s.conns[number].Load() == 0
	}
}

// mostly waits until the origins of these numbers together have the share of a heavy one beside a light one.
func (s *show) mostly(numbers ...int) func(int, time.Time) (time.Time, bool) {
	return func(since int, changed time.Time) (time.Time, bool) {
		list := s.since(since)
		for i := 0; i+settled <= len(list); i++ {
			hits := 0
			for _, a := range list[i : i+settled] {
				if slices.ContainsFunc(numbers, func(n int) bool { return a.from == addressOf(n) }) {
					hits++
				}
			}
			if hits >= settled*4/5 {
				return list[i].at, true
			}
		}
		return changed, false
	}
}

// Follow runs Show for a test with little traffic: everything must be followed, and no request fail. Then it runs
// Keep and, if the place can have documents, FollowDocuments.
func Follow(p Place, log *slog.Logger) error {
	steps, err := Show(p, Options{Rate: 100, Gone: time.Second, Broken: time.Second / 2}, log)
	for _, step := range steps {
		if step.Failed > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d of %d requests failed", step.Name, step.Failed, step.Requests))
		}
	}
	err = errors.Join(err, Keep(p))
	if p.Documents != nil {
		err = errors.Join(err, FollowDocuments(p))
	}
	return err
}
