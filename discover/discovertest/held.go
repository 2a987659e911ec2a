package discovertest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
