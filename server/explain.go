package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/config"
	"weir/internal/forward"
	"weir/lb"
	"weir/proxy"
)

// Question is a request whose way through a configuration Explain follows.
type Question struct {
	// Method is the request's; empty means GET.
	Method string
	// URL is what a client asks for: scheme, host and path, perhaps a query.
	URL string
	// Fields are the lines of the request's head besides Host, such as "Accept: text/html".
	Fields []string
	// From is the address that the client connects from; the zero Addr means 127.0.0.1.
	From netip.Addr
	// Listener is the label of the listener; empty means the first one that has certificates if
	// the scheme is https, and none if it is http.
	Listener string
	// Answer are lines of the head of the response that a target is assumed to give, such as
	// "Cache-Control: max-age=60".
	Answer []string
	// ClientCert is the certificate of the client in PEM, which is taken for a good one; empty means none.
	ClientCert string
}

// Explanation is what weir would do with a request, and why.
type Explanation struct {
	Listener      string         `json:"listener"`
	ClientAddress string         `json:"client_address"`
	Scheme        string         `json:"scheme"`
	Routes        []RouteVerdict `json:"routes"`
	// Route is the name of the route that takes the request; empty if none does.
	Route    string            `json:"route"`
	Captures map[string]string `json:"captures,omitempty"`
	// Upstream and Targets are where the request may go, Target is the pick of a weir that has
	// just started.
	Upstream string            `json:"upstream,omitempty"`
	Balance  string            `json:"balance,omitempty"`
	Targets  []ExplainedTarget `json:"targets,omitempty"`
	// Notes say what is out of the ordinary about the upstream of a running weir.
	Notes []string `json:"notes,omitempty"`
	// Sources find further targets while weir runs; their URLs are without secrets.
	Sources  []string           `json:"sources,omitempty"`
	Target   string             `json:"target,omitempty"`
	Limits   *ExplainedLimits   `json:"limits,omitempty"`
	Request  *ExplainedRequest  `json:"request,omitempty"`
	Response *ExplainedResponse `json:"response,omitempty"`
	Cache    *ExplainedCache    `json:"cache,omitempty"`
	// Cause is how the exchange would end, and Error the reason if not well.
	Cause string `json:"cause"`
	Error string `json:"error,omitempty"`
}

// RouteVerdict is what a route says to a request.
type RouteVerdict struct {
	Route string `json:"route"`
	// Misfit is the key of the first condition that the request does not fit; empty if
	// it fits, and is taken by this route or by a more specific one.
	Misfit string `json:"misfit,omitempty"`
	// Wants is what that condition says.
	Wants string `json:"wants,omitempty"`
	Taken bool   `json:"taken,omitempty"`
}

// ExplainedTarget is a target of the upstream.
type ExplainedTarget struct {
	URL string `json:"url"`
	// Weight is the target's, which it has together with others if there are several Sharers.
	Weight  int `json:"weight"`
	Sharers int `json:"sharers"`
	// Priority is the number of the target's group.
	Priority int `json:"priority"`
	// State and Reason are how the target is in a running weir, and InFlight how many exchanges it
	// has there; else they are empty.
	State    string `json:"state,omitempty"`
	Reason   string `json:"reason,omitempty"`
	InFlight int    `json:"in_flight,omitempty"`
	// Source is what found the target in a running weir, Seen when it last said so, and Kept why the
	// target is used although it does not say so now.
	Source string     `json:"source,omitempty"`
	Seen   *time.Time `json:"seen,omitempty"`
	Kept   string     `json:"kept,omitempty"`
}

// ExplainedLimits are the bounds of an exchange with a target. 0 means none.
type ExplainedLimits struct {
	MaxBody   int64  `json:"max_body"`
	Connect   string `json:"connect"`
	FirstByte string `json:"first_byte"`
	Idle      string `json:"idle"`
	Total     string `json:"total"`
	Attempts  int    `json:"attempts"`
}

// ExplainedRequest is the head that the target gets.
type ExplainedRequest struct {
	Line string `json:"line"`
	// Fields are all lines; Added are those that the client did not send, Removed those of the client
	// that do not go on.
	Fields  []string `json:"fields"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// ExplainedResponse is the head that the client gets.
type ExplainedResponse struct {
	Status int      `json:"status"`
	Fields []string `json:"fields"`
}

// ExplainedCache is what the cache of the route does.
type ExplainedCache struct {
	// Key is what the answer is stored under.
	Key string `json:"key"`
	// Verdict is "stored", or why the answer is not stored, by the names that Cache-Status has.
	Verdict string `json:"verdict"`
	// Next is what the cache of a running weir would do with a plain GET of that key, and Because why;
	// else they are empty.
	Next    string `json:"next,omitempty"`
	Because string `json:"because,omitempty"`
}

// Explain says what a weir with this configuration would do with a request. Nothing is sent:
// the request goes through the core itself, to a target that is only assumed to answer with
// status 200. The cache is empty, and all targets are well. The error says what is wrong with the
// question.
func Explain(cfg *config.Config, q Question, opts ...Option) (*Explanation, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return explain(cfg, q, &o, nil)
}

// Explain says what this server would do with a request now, with the configuration in force and
// its targets as they are. Nothing is sent. The error says what is wrong with the question.
func (s *Server) Explain(q Question) (*Explanation, error) {
	g := s.enter() // so that a reload does not close the store meanwhile
	defer g.leave()
	o := s.options
	o.checked = true
	e, err := explain(g.config, q, &o, s.sets())
	if err == nil && e.Upstream != "" {
		origins := s.origins(e.Upstream)
		for i := range e.Targets {
			t := &e.Targets[i]
			if origin, found := origins[t.URL]; found {
				t.Source, t.Seen, t.Kept = origin.Source, timeOrNil(origin.Seen), origin.Kept
			}
		}
	}
	if err == nil && e.Cache != nil && g.store != nil {
		x := g.store.ExplainKey(e.Cache.Key, time.Now().UnixNano())
		e.Cache.Next, e.Cache.Because = verdict(&x)
	}
	return e, err
}

// explain explains q by cfg. live are the upstreams of a running server, which the explanation
// takes as they are; nil if there is none.
func explain(cfg *config.Config, q Question, o *options, live map[string]*lb.Upstream) (*Explanation, error) {
	if err := check(cfg, o); err != nil {
		return nil, err
	}
	// What has a line end would become several lines of a head.
	for _, line := range slices.Concat([]string{q.Method}, q.Fields, q.Answer) {
		if strings.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf("found %q, which has a line end: want one line, such as \"Accept: text/html\"", line)
		}
	}
	e := &explainer{config: cfg, live: live}
	e.Routes = []RouteVerdict{} // also of a request that does not come as far
	if err := e.assume(q.Answer); err != nil {
		return nil, err
	}
	listener, scheme, text, err := e.request(q)
	if err != nil {
		return nil, err
	}
	if err := e.build(o); err != nil {
		return nil, err
	}
	defer e.close()
	from := q.From
	if !from.IsValid() {
		from = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	peer := forward.NewPeer(netip.AddrPortFrom(from, 40000), scheme == "https")
	if q.ClientCert != "" {
		block, _ := pem.Decode([]byte(q.ClientCert))
		if block == nil {
			return nil, errors.New("found a client certificate that is not PEM")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("cannot use the client certificate: %w", err)
		}
		peer.Identify(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}, forward.VerifiedOK)
	}
	x := e.exchange
	x.Client = &proxy.Client{
		Front: e, Cancel: new(proxy.Cancel), Bond: new(proxy.Bond), Listener: e.metrics.NewListener(listener), Peer: &peer,
		Remote: netip.AddrPortFrom(from, 40000), TLS: scheme == "https",
	}
	x.Start = time.Now()
	e.Explanation.Listener = listener.Label()
	if to, name, ok := passedOn(listener, q.URL); ok {
		e.pass(to, name)
		return &e.Explanation, nil
	}
	if err := x.Request.ScanRequest(text); err != nil {
		return nil, fmt.Errorf("a client cannot send this request: %w", err)
	}
	e.client = linesOf(&x.Request)
	if limit := int(listener.Limits.HeaderBytes); x.Request.Size > limit {
		e.refuse(limit)
		return &e.Explanation, nil
	}
	e.core.Serve(x)
	e.conclude()
	return &e.Explanation, nil
}
