package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/config"
)

// The bounds of how many exchanges one answer has.
const (
	defaultExchanges = 100
	maxExchanges     = 1000
)

// errNotRecording is the answer while no route is recorded.
var errNotRecording = errors.New("nothing is recorded: set inspect on a route, or inspect.sample")

// errNoExchange is the answer to an id that is not, or no longer, known.
var errNoExchange = errors.New("there is no such exchange, or it was pushed out by later ones")

// parameters are those of a query, of which each may stand there once.
type parameters struct {
	values url.Values
	err    error
}

// parametersOf reads the query of a request, which may have the parameters of these names alone.
func parametersOf(r *http.Request, names ...string) *parameters {
	p := &parameters{values: r.URL.Query()}
	for name := range p.values {
		if !slices.Contains(names, name) {
			p.err = fmt.Errorf("found the parameter %q: want %s", name, config.OneOf(names))
		}
	}
	return p
}

// oneOf returns a parameter that is one of some texts, the first of which is the default.
func (p *parameters) oneOf(name string, allowed ...string) string {
	text := p.values.Get(name)
	if text == "" {
		return allowed[0]
	}
	if !slices.Contains(allowed, text) {
		p.err = fmt.Errorf("%s: found %q: want %s", name, text, config.OneOf(allowed))
	}
	return text
}

// number returns a parameter that is a whole number from 1 on.
func (p *parameters) number(name string, normal, most int) int {
	text := p.values.Get(name)
	if text == "" {
		return normal
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		p.err = fmt.Errorf("%s: found %q: want 1 to %d", name, text, most)
	}
	return n
}

// query reads which exchanges a request is about.
func (p *parameters) query() ExchangeQuery {
	q := ExchangeQuery{
		Filter: p.values.Get("filter"), Before: p.values.Get("before"), Limit: p.number("limit", defaultExchanges, maxExchanges),
		Ring: p.oneOf("ring", "all", KindRecent, KindFailed, KindSlow, KindImported),
	}
	if ids := p.values.Get("ids"); ids != "" {
		q.IDs = strings.Split(ids, ",")
	}
	return q
}

func (a *api) inspectState(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.weir.Inspector().State())
}

// recording returns the recorder, or answers that nothing is recorded.
func (a *api) recording(w http.ResponseWriter) Inspector {
	if i := a.weir.Inspector(); i.State().Enabled {
		return i
	}
	fail(w, http.StatusNotFound, errNotRecording)
	return nil
}

type exchanges struct {
	Exchanges []Exchange `json:"exchanges"`
	Next      string     `json:"next"`
}

func (a *api) exchanges(w http.ResponseWriter, r *http.Request) {
	inspector := a.recording(w)
	if inspector == nil {
		return
	}
	p := parametersOf(r, "filter", "ring", "limit", "before")
	q, err := p.query(), p.err
	var found exchanges
	if err == nil {
		found.Exchanges, found.Next, err = inspector.Exchanges(q)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	answer(w, http.StatusOK, found)
}

func (a *api) clearExchanges(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]int{"removed": a.weir.Inspector().Clear()})
}

// exchange answers with an exchange, or with one of its bodies.
func (a *api) exchange(w http.ResponseWriter, r *http.Request) {
	inspector := a.recording(w)
	if inspector == nil {
		return
	}
	id, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pathExchanges+"/"), "/")
	d := inspector.Detail(id)
	if d == nil {
		fail(w, http.StatusNotFound, errNoExchange)
		return
	}
	switch what {
	case "":
		answer(w, http.StatusOK, d)
	case "request/body":
		answerBody(w, d.Request)
	case "response/body":
		answerBody(w, d.Response)
	default:
		fail(w, http.StatusNotFound, fmt.Errorf(`found %q after the id: want nothing, "request/body" or "response/body"`, what))
	}
}

// answerBody answers with a body that was recorded, in a way that makes no browser run anything of
// it: only images that cannot hold programs are shown, all else is a file to be kept.
func answerBody(w http.ResponseWriter, m *Message) {
	if m == nil || m.Body == nil {
		fail(w, http.StatusNotFound, errors.New("the message has no body that was kept"))
		return
	}
	h := w.Header()
	kind := "application/octet-stream"
	if m.Body.Image {
		kind, _, _ = mime.ParseMediaType(m.Body.Type)
	} else {
		h.Set("Content-Disposition", "attachment; filename=body")
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.Write(m.Body.Bytes()) // fails only if the caller closed its connection
}

// The times of a stream: how often it has news at most, and how often it says that it lives.
const (
	newsEvery  = 250 * time.Millisecond
	stateEvery = 5 * time.Second
)

// stream sends what is recorded as server-sent events (HTML Living Standard, section 9.2).
func (a *api) stream(w http.ResponseWriter, r *http.Request) {
	inspector := a.recording(w)
	if inspector == nil {
		return
	}
	p := parametersOf(r, "filter", "bodies")
	bodies := p.oneOf("bodies", "false", "true") == "true"
	if p.err != nil {
		fail(w, http.StatusBadRequest, p.err)
		return
	}
	s, err := inspector.Watch(p.values.Get("filter"), bodies)
	switch {
	case errors.Is(err, ErrTooManyStreams):
		fail(w, http.StatusServiceUnavailable, err)
		return
	case err != nil:
		fail(w, http.StatusBadRequest, err)
		return
	}
	defer s.Close()
	c := http.NewResponseController(w)
	c.SetReadDeadline(time.Time{}) // it may be watched for as long as one likes
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	send := func(event string, v any) bool {
		text, err := json.Marshal(v)
		if err != nil {
			panic("BUG: cannot encode an event: " + err.Error())
		}
		c.SetWriteDeadline(time.Now().Add(30 * time.Second)) // for clients that read nothing
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text)
		return c.Flush() == nil
	}
	news, state := time.NewTicker(newsEvery), time.NewTicker(stateEvery)
	defer news.Stop()
	defer state.Stop()
	for going := send("state", inspector.State()); going; {
		select {
		case <-r.Context().Done():
			return
		case <-state.C:
			going = send("state", inspector.State())
		case <-news.C:
			if n := s.Take(); n != nil {
				going = send("exchanges", n)
			}
		}
	}
}
