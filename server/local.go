package server

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"weir/config"
	"weir/internal/demo"
	"weir/internal/mount"
)

// local are the targets that are a part of this process: the demo origin and the handlers of
// the embedding program.
type local struct {
	demo     *demo.Origin
	handlers map[string]*mount.Server
}

// mounter mounts a handler.
type mounter func(o mount.Options) *mount.Server

// handlerScheme begins the URL of a target that is a handler.
const handlerScheme = "handler:"

// addedFields is room for the fields that weir adds to the head of a request.
const addedFields = 8 << 10

func newLocal(cfg *config.Config, handlers map[string]mounter, o mount.Options) *local {
	o.HeaderBytes = int(config.DefaultListener().Limits.HeaderBytes)
	for i := range cfg.Listeners {
		o.HeaderBytes = max(o.HeaderBytes, int(cfg.Listeners[i].Limits.HeaderBytes))
	}
	o.HeaderBytes += addedFields
	l := &local{demo: demo.New(), handlers: make(map[string]*mount.Server, len(handlers))}
	for name, m := range handlers {
		l.handlers[name] = m(o)
	}
	return l
}

// dial connects to a target by its URL's scheme and name.
func (l *local) dial(scheme, name string) (net.Conn, error) {
	if scheme == "demo" {
		return l.demo.Dial(name)
	}
	h := l.handlers[name]
	if h == nil {
		return nil, fmt.Errorf("there is no handler %q", name)
	}
	return h.Dial()
}

// close returns when nothing of the targets runs any more.
func (l *local) close() {
	_ = l.demo.Close() // always nil
	for _, h := range l.handlers {
		h.Close()
	}
}

// checkHandlers returns what is wrong with targets that are handlers. The keys are below the
// upstream's own.
func checkHandlers(u *config.Upstream, handlers map[string]mounter) (problems []config.Problem) {
	var known []string
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		known = append(known, handlerScheme+name)
	}
	want := config.OneOf(known)
	if len(known) == 0 {
		want = "another target: this program has no handlers (server.WithHandler)"
	}
	for i, t := range u.Targets {
		url := t.Origin()
		if !strings.HasPrefix(url, handlerScheme) || slices.Contains(known, url) {
			continue
		}
		problems = append(problems, config.Problem{
			Key: config.Key("targets", i, "url"), Found: strconv.Quote(t.URL), Want: want, Hint: config.Nearest(url, known),
		})
	}
	return problems
}
