package proxy

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"weir/config"
	"weir/internal/field"
	"weir/internal/head"
)

// cors is what a route says about pages of other origins (the Fetch standard, section 3.3).
type cors struct {
	all     bool
	origins map[string]bool
	// below are origins for all names below one: what comes before and after the variable part.
	below            [][2]string
	methods, headers []byte
	expose, maxAge   []byte
	// anyHeader says that pages may send all fields that they ask for.
	anyHeader, credentials bool
}

// What clients of gRPC-Web send and read besides what any page may.
var (
	grpcWebSends = []string{"content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"}
	grpcWebReads = []string{"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding"}
)

// newCORS compiles what a route says; nil is nothing.
func newCORS(c *config.CORS, grpcWeb bool) *cors {
	if c == nil {
		return nil
	}
	headers, expose := slices.Clone(c.Headers), slices.Clone(c.Expose)
	if grpcWeb {
		headers, expose = append(headers, grpcWebSends...), append(expose, grpcWebReads...)
	}
	list := func(names []string) []byte { return []byte(strings.Join(names, ", ")) }
	r := &cors{
		origins: make(map[string]bool), methods: list(c.Methods), headers: list(headers), expose: list(expose),
		maxAge:    strconv.AppendInt(nil, int64(c.MaxAge.D().Seconds()), 10),
		anyHeader: slices.Contains(c.Headers, "*"), credentials: c.Credentials,
	}
	for _, origin := range c.Origins {
		before, after, wild := strings.Cut(origin, "*")
		switch {
		case origin == "*":
			r.all = true
		case wild:
			r.below = append(r.below, [2]string{before, after})
		default:
			r.origins[origin] = true
		}
	}
	return r
}

// allows says whether pages of an origin may use the route.
func (c *cors) allows(origin []byte) bool {
	if c.all || c.origins[string(origin)] {
		return true
	}
	for _, b := range c.below {
		if len(origin) > len(b[0])+len(b[1]) && bytes.HasPrefix(origin, []byte(b[0])) && bytes.HasSuffix(origin, []byte(b[1])) {
			return true
		}
	}
	return false
}

var (
	allowOrigin      = head.NewName("Access-Control-Allow-Origin")
	allowCredentials = head.NewName("Access-Control-Allow-Credentials")
	allowMethods     = head.NewName("Access-Control-Allow-Methods")
	allowHeaders     = head.NewName("Access-Control-Allow-Headers")
	exposeHeaders    = head.NewName("Access-Control-Expose-Headers")
	preflightAge     = head.NewName("Access-Control-Max-Age")
	requestMethod    = head.NewName("Access-Control-Request-Method")
	requestHeaders   = head.NewName("Access-Control-Request-Headers")
)

// preflight answers a browser that asks what a page of another origin may do. To an origin that
// may do nothing the answer says nothing, which is how browsers learn that.
func (x *Exchange) preflight() verdict {
	c, q := x.Route.cors, &x.Request
	origin := q.Get(head.Origin)
	if string(q.Method()) != "OPTIONS" || len(origin) == 0 || len(q.Get(requestMethod)) == 0 {
		return goOn
	}
	x.ownHead(204)
	h := x.Response
	if c.allows(origin) {
		headers := c.headers
		if c.anyHeader {
			headers = q.Joined(requestHeaders)
			varyBy(h, "Access-Control-Request-Headers")
		}
		h.Add(allowMethods, c.methods)
		if len(headers) > 0 {
			h.Add(allowHeaders, headers)
		}
		h.Add(preflightAge, c.maxAge)
	}
	x.Result.Cause = CauseFixed
	x.send(nil)
	return ended
}

// answer says in the response whether a page of the request's origin may read it, in place of what the
// target says.
func (c *cors) answer(x *Exchange) {
	h, origin := x.Response, x.Request.Get(head.Origin)
	for _, name := range [...]head.Name{allowOrigin, allowCredentials, exposeHeaders} {
		h.Del(name)
	}
	if !c.all {
		varyBy(h, "Origin")
	}
	switch {
	case len(origin) == 0 || !c.allows(origin):
		return
	case c.all:
		h.Add(allowOrigin, []byte("*"))
	default:
		h.Add(allowOrigin, origin)
	}
	if c.credentials {
		h.Add(allowCredentials, []byte("true"))
	}
	if len(c.expose) > 0 {
		h.Add(exposeHeaders, c.expose)
	}
}

// varyBy says that the response depends on a field of the request.
func varyBy(h *head.Head, name string) {
	if vary := h.Joined(head.Vary); !field.HasToken(vary, name) && !field.HasToken(vary, "*") {
		h.Append(head.Vary, []byte(name))
	}
}
