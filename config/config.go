// Package config is what users may write: the pure data of one TOML file, its
// defaults, and the checks that need nothing but the file itself. It imports
// nothing of ours, starts nothing and reads nothing but the file it loads and those that it
// includes; of the files
// that the file names it only looks whether they may be read.
// Every other package reads it; main and embedders fill it.
//
// # How to add a key
//
//  1. Add a field with a toml tag and a doc comment to its struct; the comment
//     says units, ranges and what 0 or "" means, and becomes the key's
//     description in the JSON schema and in docs/configuration.md. Text types
//     (Duration, Size, Address, Prefix, Strings, Template) are in values.go. A
//     new struct may have a file of its own; list that file in the embed
//     directive of schema.go.
//  2. If its default is not zero, set it in the setDefaults method of the struct
//     (default.go, or beside the struct). New elements of lists and maps, and
//     tables that are pointers, get their defaults before the file is applied.
//  3. What its type does not say already, such as ranges and references, is
//     checked in the validate method of the struct. Negative numbers are
//     refused without that. Names of things that another package implements
//     are checked there, by a function that returns Errors and is called by
//     server.CheckParts.
//  4. Show it with its default and one line of why in config.toml, and run
//     go test ./config -update, which writes the table in docs/configuration.md.
//
// A type that may be written as one string or boolean in place of its table
// (targets = ["http://..."], cache = true) has a method short: see decode.go.
package config

import (
	"slices"
)

// Config is one configuration. A nil or zero Config is not usable: start from
// Default or Load. A Config is never changed after it was handed to a server.
type Config struct {
	// Include is one or several files whose keys count as if they stood here, or patterns
	// such as "conf.d/*.toml", which may fit no file; paths are relative to the file that
	// has the key. Listeners and routes of included files come after those here, in the
	// order of the names of the files. In the first file there may also be URLs of sources, such as
	// "etcd://host:2379/weir", whose documents have routes and upstreams.
	Include Strings `toml:"include"`
	// Listeners accept clients. At least one is needed, except in programs that
	// pass their own listeners to the server.
	Listeners []Listener `toml:"listeners"`
	// Routes are tried by the rule of internal/match: the most specific wins,
	// ties by order.
	Routes []Route `toml:"routes"`
	// Upstreams are the named sets of targets that routes send to.
	Upstreams map[string]Upstream `toml:"upstreams"`
	// Certificates is about those that weir gets by itself.
	Certificates Certificates `toml:"certificates"`
	// ErrorPages are sent in place of short texts for errors, on routes that have none of their own.
	ErrorPages ErrorPages `toml:"error_pages"`
	// Forwarding says which peers' forwarding headers are believed and which
	// headers are sent.
	Forwarding Forwarding `toml:"forwarding"`
	// Log is weir's own log (not the access log).
	Log Log `toml:"log"`
	// AccessLog has one line for each exchange.
	AccessLog AccessLog `toml:"access_log"`
	// Metrics has its own address.
	Metrics Metrics `toml:"metrics"`
	// Statistics count exchanges by route and path.
	Statistics Statistics `toml:"statistics"`
	// Objectives say how large a share of exchanges should go well.
	Objectives []Objective `toml:"objectives"`
	// Admin has its own address.
	Admin Admin `toml:"admin"`
	// Inspect records exchanges, to look at them. It is off by default.
	Inspect Inspect `toml:"inspect"`
	// Tracing sends spans of exchanges to a collector. It is off by default.
	Tracing Tracing `toml:"tracing"`
	// Cache is about the tiers where stored responses live.
	Cache Cache `toml:"cache"`
	// Compress is how responses are compressed on routes that do not say it themselves, true,
	// false or a table; nil means not at all.
	Compress *Compress `toml:"compress"`
	// Discovery is about targets that are found while weir runs.
	Discovery Discovery `toml:"discovery"`
	// Lifecycle is about reload and shutdown.
	Lifecycle Lifecycle `toml:"lifecycle"`

	source *source // nil if built in Go
}

// Listener is an address plus protocols that accepts clients.
type Listener struct {
	// Name labels the listener in metrics and logs; empty means the address.
	Name string `toml:"name"`
	// Address is where to listen: "host:port", ":port", "unix:/path", or
	// "systemd:NAME" for a socket passed by the service manager.
	Address Address `toml:"address"`
	// Certificates make the listener speak TLS; SNI chooses, the first is the
	// default. Files are read again when they change.
	Certificates []Certificate `toml:"certificates"`
	// Issuer is "acme" for certificates that weir gets from a CA by itself, and "internal" for those of a CA of
	// its own, for development. Empty means that there are the files in certificates alone, or plain HTTP.
	Issuer string `toml:"tls"`
	// Domains are the names to get certificates for; empty means the hosts of the routes that the
	// listener has, if it has no files in certificates. With tls = "internal" localhost and its addresses are always among them.
	Domains Strings `toml:"domains"`
	// HTTPSRedirect answers requests that clients send over http with a redirect to
	// the same URL with https: 301, and 308 for methods other than GET and HEAD. Only
	// routes whose listener condition names this listener come first.
	HTTPSRedirect bool `toml:"https_redirect"`
	// MinTLS and MaxTLS are the oldest and the newest version of TLS that clients may speak: "1.0",
	// "1.1", "1.2" or "1.3".
	MinTLS string `toml:"min_tls"`
	MaxTLS string `toml:"max_tls"`
	// Ciphers are those that TLS 1.2 and older may use, by the names of IANA or OpenSSL; empty
	// means the good ones. Their order means nothing. TLS 1.3 has only good ones, which are always on.
	Ciphers Strings `toml:"ciphers"`
	// Curves are the key exchanges, such as "X25519MLKEM768", "X25519" and "P-256"; empty means the good
	// ones, X25519MLKEM768 among them. Their order means nothing.
	Curves Strings `toml:"curves"`
	// HSTS tells browsers to come by https alone from now on (RFC 6797): true, or a table; nil means
	// that they are not told.
	HSTS *HSTS `toml:"hsts"`
	// ECH are files with keys of Encrypted Client Hello, as weir ech makes them. The first is offered to
	// clients, all are accepted. The files are read again when they change.
	ECH Strings `toml:"ech"`
	// Tickets let clients take sessions up again, which spares both sides most of a handshake; false
	// means that they cannot.
	Tickets Tickets `toml:"tickets"`
	// Protocols are those that clients may speak: "h1" is HTTP/1.1, "h2" is HTTP/2 by TLS, and
	// "h2c" is HTTP/2 without TLS, by clients that know so beforehand. Empty means HTTP/1.1, and
	// HTTP/2 too where there are certificates.
	Protocols Strings `toml:"protocols"`
	// ClientCA is a PEM file of the authorities whose certificates clients must show; empty
	// means that they are not asked for any. The file is read again when it changes, which ends the
	// connections of clients that showed certificates of other authorities.
	ClientCA string `toml:"client_ca"`
	// ClientCRL is a file with revocation lists, PEM or DER, of all authorities that vouch for clients; empty
	// means that none is asked. A certificate whose issuer has no list here, or one that has expired, is
	// not good. The file is read again when it changes.
	ClientCRL string `toml:"client_crl"`
	// ClientAuth is "require", "optional" for clients that need not show a certificate, but whose
	// certificate must be good, or "request" for clients that are served whatever they show, with
	// what became of the verification in the variable client_verified.
	ClientAuth string `toml:"client_auth"`
	// ClientAllow are the only clients that are let in of those whose certificates are good, each by what its
	// certificate must say; empty means all.
	ClientAllow []ClientPattern `toml:"client_allow"`
	// StrictSNI ends handshakes of clients that ask for a name which no certificate has, or
	// for none, by an alert, in place of showing them the first certificate.
	StrictSNI bool `toml:"strict_sni"`
	// OCSPStapling asks the responders that certificates name whether they are revoked, and shows clients the
	// answers. Certificates that name none, as most do today, are not concerned.
	OCSPStapling bool `toml:"ocsp_stapling"`
	// PassThrough are names whose TLS is not ended here, by the upstream that ends it: "www.example.org",
	// "*.example.org" for all names below, or "*" for all others, and for clients that ask for none.
	PassThrough map[string]string `toml:"pass_through"`
	// Allow are the only addresses of clients that are served; others are answered with 403.
	// Empty means all. Behind trusted proxies the client's own address counts.
	Allow []Prefix `toml:"allow"`
	// Deny are addresses that are answered with 403. Of several ranges in Allow and Deny that have
	// an address the smallest decides.
	Deny []Prefix `toml:"deny"`
	// ProxyProtocol are the addresses that must send a PROXY header, version 1
	// or 2; no other address may. Empty means off.
	ProxyProtocol []Prefix `toml:"proxy_protocol"`
	// Limits bound what clients may ask of this listener.
	Limits ListenerLimits `toml:"limits"`
	// Timeouts bound how long clients may take.
	Timeouts ListenerTimeouts `toml:"timeouts"`
}

// Label is the listener's name in metrics, logs and routes: Name, or the address.
func (l *Listener) Label() string {
	if l.Name != "" {
		return l.Name
	}
	return string(l.Address)
}

// The protocols of a listener.
const (
	ProtocolH1  = "h1"
	ProtocolH2  = "h2"
	ProtocolH2C = "h2c"
)

// The values of ClientAuth.
const (
	ClientAuthRequire  = "require"
	ClientAuthOptional = "optional"
	ClientAuthRequest  = "request"
)

// AsksForCertificates says whether clients are asked for certificates.
func (l *Listener) AsksForCertificates() bool {
	return l.ClientCA != "" || l.ClientAuth == ClientAuthRequest
}

// Speaks says whether clients may speak a protocol.
func (l *Listener) Speaks(protocol string) bool {
	if len(l.Protocols) > 0 {
		return slices.Contains(l.Protocols, protocol)
	}
	return protocol == ProtocolH1 || protocol == ProtocolH2 && l.Secure()
}

// Certificate is a certificate chain and its key, both PEM files.
type Certificate struct {
	// Cert is the file of the chain, the listener's own certificate first.
	Cert string `toml:"cert"`
	// Key is the file of the private key.
	Key string `toml:"key"`
}

// ListenerLimits bound the use of one listener.
type ListenerLimits struct {
	// HeaderBytes bounds a request line plus its header fields; a longer head is
	// answered with 431 (414 if the request line alone is longer).
	HeaderBytes Size `toml:"header_bytes"`
	// Connections bounds open client connections; 0 means no bound.
	Connections int `toml:"connections"`
	// ConnectionsPerAddress bounds the connections of one client address (IPv6:
	// one /64); 0 means no bound.
	ConnectionsPerAddress int `toml:"connections_per_address"`
}

// ListenerTimeouts bound the time of clients. All but Tunnel are more than 0.
type ListenerTimeouts struct {
	// Handshake bounds PROXY header plus TLS handshake.
	Handshake Duration `toml:"handshake"`
	// Header bounds a request head, from its first byte to its last.
	Header Duration `toml:"header"`
	// Idle bounds the wait for the next request on a connection.
	Idle Duration `toml:"idle"`
	// Grace is how long a client may send nothing of a request's body, or take
	// nothing of a response, and how far it may fall behind MinRate.
	Grace Duration `toml:"grace"`
	// MinRate is the least number of bytes per second that a client must send
	// of a request body whose length is known, and take of a response, while weir waits
	// for it. A body of unknown length is often made while it is sent, so that
	// its rate says nothing. 0 means Grace alone bounds each wait.
	MinRate Size `toml:"min_rate"`
	// Tunnel bounds how long an upgraded connection may be silent in both
	// directions; 0 means no bound.
	Tunnel Duration `toml:"tunnel"`
}

// Route is a match rule plus what to do.
type Route struct {
	// Name labels the route in metrics and logs; empty means "route-N", N
	// counted from 1 in the file.
	Name string `toml:"name"`

	// Host is one or several of "www.example.org", "*.example.org"; none means any.
	Host Strings `toml:"host"`
	// Path is one or several of "/exact", "/prefix/" (ends in a slash), "/exact/{$}" and
	// templates such as "/{service}/{version}/"; none means any.
	Path Strings `toml:"path"`
	// Method is one or several methods; none means any.
	Method Strings `toml:"method"`
	// Listener is one or several names of listeners (or addresses, for listeners
	// without a name) that the request came in through; none means any.
	Listener Strings `toml:"listener"`
	// Scheme is "http" or "https", as the client had it: what trusted proxies say in
	// X-Forwarded-Proto counts. Empty means any.
	Scheme string `toml:"scheme"`
	// Header fields that must be there: name to value; "*" means any value.
	Header map[string]string `toml:"header"`
	// Query parameters that must be there: name to value; "*" means any value.
	Query map[string]string `toml:"query"`
	// Client is what the certificate of the client must say, which the listener has verified; nil means anything,
	// and clients without one too.
	Client *ClientPattern `toml:"client"`

	// Exactly one of the next four.

	// Upstream is the name of an upstream, or a template of path captures.
	Upstream Template `toml:"upstream"`
	// Redirect answers with a Location.
	Redirect *Redirect `toml:"redirect"`
	// Respond answers with a fixed response.
	Respond *Respond `toml:"respond"`

	// Files answers with the files of a folder.
	Files *Files `toml:"files"`

	// StripPrefix removes the part that the route's path matched, up to the last
	// slash of that path, from the path that is forwarded, or that names a file.
	StripPrefix bool `toml:"strip_prefix"`
	// AddPrefix is put before the path that is forwarded, after StripPrefix.
	AddPrefix string `toml:"add_prefix"`
	// Rewrite replaces the path that is forwarded (and the query if it has a "?").
	Rewrite Template `toml:"rewrite"`

	// HostHeader is "pass" (the client's), "target" (the target's host and
	// port), or the value to send.
	HostHeader string `toml:"host_header"`
	// RequestHeaders change what the target gets.
	RequestHeaders HeaderRules `toml:"request_headers"`
	// RequestCookies say which cookies the target gets; this comes before RequestHeaders.
	RequestCookies CookieRules `toml:"request_cookies"`
	// ResponseHeaders change what the client gets.
	ResponseHeaders HeaderRules `toml:"response_headers"`

	// Allow are the only addresses of clients that the route serves; others are answered
	// with 403. Empty means all. Behind trusted proxies the client's own address counts.
	Allow []Prefix `toml:"allow"`
	// Deny are addresses that are answered with 403. Of several ranges in Allow and Deny that have
	// an address the smallest decides.
	Deny []Prefix `toml:"deny"`
	// CORS says which pages of other origins may use the route from a browser; nil leaves that to
	// targets.
	CORS *CORS `toml:"cors"`
	// ErrorPages are sent in place of short texts for errors, before those of the whole file;
	// nil means those alone.
	ErrorPages *ErrorPages `toml:"error_pages"`
	// ClientCertificate answers clients with 403 that have not shown a certificate that is good, on listeners
	// that let such clients in (client_auth).
	ClientCertificate bool `toml:"client_certificate"`
	// BasicAuth asks clients for a name and a password; nil means that it does not.
	BasicAuth *BasicAuth `toml:"basic_auth"`

	// ControlBytes takes paths with encoded control bytes, such as "%0A", which are
	// refused elsewhere, because a target that decodes them could put them into a header or a
	// log. "%00" is always refused.
	ControlBytes bool `toml:"control_bytes"`
	// MaxBody bounds a request body; a longer one is answered with 413. 0 means
	// no bound.
	MaxBody Size `toml:"max_body"`
	// BufferRequest makes weir read request bodies of unknown length whole and send
	// them with their length, for targets that need one. It is how much memory such a
	// body may take; a longer body is answered with 413. 0 means that such bodies go on
	// in chunks as they come.
	BufferRequest Size `toml:"buffer_request"`
	// Upgrade are the protocols that clients may switch to (RFC 9110 section 7.8), such as
	// "websocket": names with or without a version. A request for another protocol is forwarded
	// without the fields that ask for it; over HTTP/2, where an extended CONNECT asks for it, the
	// answer is 501. "h2c" is refused, because requests in it would pass by
	// all routes.
	Upgrade Strings `toml:"upgrade"`

	// GRPCWeb translates calls of gRPC-Web, which browsers make, into calls of gRPC, and their
	// answers back. Without it calls of gRPC-Web go on as they are, for targets that translate them.
	GRPCWeb bool `toml:"grpc_web"`

	// Timeouts replace those of the upstream and of the listener for this route.
	Timeouts RouteTimeouts `toml:"timeouts"`

	// ServerTiming adds Server-Timing to responses: how long the phases of the exchange took, what
	// the cache did, and, with tracing, which trace it is. Browsers show it.
	ServerTiming bool `toml:"server_timing"`
	// Metrics are taken from the requests and responses of the route.
	Metrics []RouteMetric `toml:"metrics"`
	// Inspect says how exchanges of the route are recorded, true, false or a table; nil means as
	// [inspect] says.
	Inspect *RouteInspect `toml:"inspect"`

	// Compress is how responses are compressed, true, false or a table; nil means as the
	// configuration's own compress says.
	Compress *Compress `toml:"compress"`
	// Cache is the route's cache policy, true, false or a table; nil means no
	// cache.
	Cache *RouteCache `toml:"cache"`
}

// RouteTimeouts replace timeouts of the upstream and of the listener for one route. 0 keeps
// their value.
type RouteTimeouts struct {
	// Total replaces the upstream's timeouts.total.
	Total Duration `toml:"total"`
	// Try replaces the upstream's retry.try_timeout.
	Try Duration `toml:"try"`
	// FirstByte replaces the upstream's timeouts.first_byte.
	FirstByte Duration `toml:"first_byte"`
	// Idle replaces the upstream's timeouts.idle.
	Idle Duration `toml:"idle"`
	// Grace replaces the listener's timeouts.grace, for bodies of this route; 0 means that.
	Grace Duration `toml:"grace"`
	// AnyRate lets clients send and take bodies of this route at any rate, whatever the
	// listener's timeouts.min_rate says.
	AnyRate bool `toml:"any_rate"`
}

// HeaderRules change header fields: removed first, then set, then added.
// Values may use the variables of internal/forward.
type HeaderRules struct {
	// Set replaces all fields of a name by one.
	Set map[string]Template `toml:"set"`
	// Add adds a field to those of its name.
	Add map[string]Template `toml:"add"`
	// Remove lists the names of fields to remove.
	Remove []string `toml:"remove"`
}

// CookieRules say which cookies of a request go on: those of Keep, or all but those of
// Remove.
type CookieRules struct {
	// Keep are the names of the only cookies that go on; a name may end in "*". None
	// means all.
	Keep []string `toml:"keep"`
	// Remove are the names of cookies that do not go on; a name may end in "*".
	Remove []string `toml:"remove"`
}

// Redirect is an answer with a Location.
type Redirect struct {
	// To is the Location; it may use variables and captures. The request's query is
	// added unless To has a "?" or the variable search.
	To Template `toml:"to"`
	// Status is 301, 302, 303, 307 or 308.
	Status int `toml:"status"`
}

// Respond is a fixed response.
type Respond struct {
	// Status is 200 to 599.
	Status int `toml:"status"`
	// Body is the content; empty means none.
	Body string `toml:"body"`
	// Headers are the fields: name to value.
	Headers map[string]string `toml:"headers"`
}

// Upstream is a named set of targets with one balancing algorithm.
type Upstream struct {
	// Targets are URLs (http, https, h2c, unix, demo, handler) or tables with url and weight; URLs of
	// sources (registry, file, list+http, list+https, dns, srv, etcd, consul, zookeeper, kubernetes) find targets.
	Targets []Target `toml:"targets"`
	// Balance is the name of the balancing algorithm.
	Balance string `toml:"balance"`
	// BalanceOptions are the options that only this algorithm has, see
	// docs/balancing.md.
	BalanceOptions Table `toml:"balance_options"`
	// Hash is what balance = "hash" makes its key from.
	Hash HashBalance `toml:"hash"`
	// Sticky sends clients back to the target that answered them before.
	Sticky Sticky `toml:"sticky"`
	// SlowStart is how long a target that joined or recovered takes to get its
	// full share; 0 means off.
	SlowStart Duration `toml:"slow_start"`
	// Retry is when and how often an exchange is tried again.
	Retry Retry `toml:"retry"`
	// Health is how weir finds out which targets work.
	Health Health `toml:"health"`
	// Limits bound what is sent at the same time.
	Limits UpstreamLimits `toml:"limits"`
	// Breaker stops sending to an upstream that mostly fails.
	Breaker Breaker `toml:"breaker"`
	// Timeouts bound the time of targets.
	Timeouts UpstreamTimeouts `toml:"timeouts"`
	// Connections are about the pool to each target.
	Connections Connections `toml:"connections"`
	// TLS is for https targets.
	TLS UpstreamTLS `toml:"tls"`
}

// Target is one address weir sends to.
type Target struct {
	// URL is "http://host:port", "https://host:port", "h2c://host:port", "unix:/path", "demo:NAME" or
	// "handler:NAME", which is a handler of the program that embeds weir; or the URL of a
	// source, see docs/discovery.md. A slash after the port changes nothing.
	// "http://host:port#address" is the one target of that name at this address.
	URL string `toml:"url"`
	// Resolve says what a host name in URL stands for: "all", each address of the name is a target,
	// and they share Weight; or "one", all addresses are one target, whose connections go to them
	// by turns. URLs with an address, localhost, sources and sockets are not concerned.
	Resolve string `toml:"resolve"`
	// Weight is the target's share relative to the others: 1 to 1,000,000. That of a
	// source multiplies what the source says; that of a name is divided among its addresses.
	Weight int `toml:"weight"`
	// Priority is the number of the target's group: 0 to 15. A group is used
	// only if no target of the groups with lower numbers can be used. That of a source is
	// added to what the source says.
	Priority int `toml:"priority"`
	// Drain lets running exchanges finish and sends no new ones.
	Drain bool `toml:"drain"`
}

// UpstreamTimeouts bound each phase of an attempt, and all of them together. 0
// means no bound.
type UpstreamTimeouts struct {
	// Connect bounds the lookup of a name and the TCP connect to all its addresses together.
	Connect Duration `toml:"connect"`
	// TLS bounds the handshake.
	TLS Duration `toml:"tls"`
	// FirstByte bounds the wait from the end of the request to the response head's end.
	FirstByte Duration `toml:"first_byte"`
	// Idle bounds the wait for the next bytes of a response body.
	Idle Duration `toml:"idle"`
	// Write bounds the wait for the target to take the next bytes of a request.
	Write Duration `toml:"write"`
	// Total bounds an exchange from the first byte of its request to the last
	// byte that a target sends, all attempts and waits included. After it the
	// exchange is answered with 504, or its connection is cut if the response has
	// begun.
	Total Duration `toml:"total"`
	// DeadlineHeader is the name of a field that tells the target of each attempt
	// how many milliseconds are left of Total; a client's fields of this name are
	// not passed on. Empty sends none.
	DeadlineHeader string `toml:"deadline_header"`
}

// Connections are about the pool of connections to each target.
type Connections struct {
	// Max bounds the connections to one target; 0 means no bound.
	Max int `toml:"max"`
	// Wait is how long an exchange may wait for a free connection at Max; 0
	// means not at all.
	Wait Duration `toml:"wait"`
	// Idle is how long an unused connection is kept; keep it below the
	// target's own keep-alive time.
	Idle Duration `toml:"idle"`
	// MaxAge is how long after it was made a connection is used for further exchanges,
	// less up to a tenth by chance; 0 means no bound. An exchange is never cut by it.
	MaxAge Duration `toml:"max_age"`
	// Resolve is how long the addresses of a target's name are used before the name is looked up
	// again, if no name server says how long: as for names in /etc/hosts, and for targets with
	// resolve = "one", those while there are connections. Connections to an address that two
	// lookups in a row lack are used for no further exchange. 0 means for good; targets without a
	// name are not concerned.
	Resolve Duration `toml:"resolve"`
	// HeaderBytes bounds a response head.
	HeaderBytes Size `toml:"header_bytes"`
	// Protocol is the version of HTTP towards http, https and unix targets: "auto" is HTTP/2 for gRPC
	// and HTTP/1.1 for all else, "h1" is HTTP/1.1, and "h2" is HTTP/2. https targets choose by
	// ALPN and may choose HTTP/1.1. h2c targets are spoken to in HTTP/2 whatever it says.
	Protocol string `toml:"protocol"`
	// Streams is how many exchanges may share an HTTP/2 connection, 1 to 1000; the target may
	// allow fewer.
	Streams int `toml:"streams"`
	// Ping is how long an HTTP/2 connection with running exchanges may be silent before weir asks
	// by a PING whether the target is there, and how long the answer may take. 0 means that
	// it does not ask.
	Ping Duration `toml:"ping"`
	// Pipeline is how many GET requests may share a connection: each is sent
	// without waiting for the responses to those before it (RFC 9112 section
	// 9.3.2). 0 and 1 mean off, 64 is the maximum.
	Pipeline int `toml:"pipeline"`
	// ProxyProtocol is "v1" or "v2": each connection begins with a PROXY header of this version. Those that
	// pass_through of a listener passes on say who the client is, all others that they are weir's
	// own. Empty means that none is sent.
	ProxyProtocol string `toml:"proxy_protocol"`
}

// UpstreamTLS is how https targets are verified and how weir identifies itself to
// them.
type UpstreamTLS struct {
	// CA is a PEM file of the authorities to trust; empty means the system's.
	CA string `toml:"ca"`
	// CRL is a file with revocation lists, PEM or DER, of these authorities and of all between them and the targets;
	// empty means that none is asked. A certificate whose issuer has no list here, or one that has expired, is
	// not good. The file is read again when it changes.
	CRL string `toml:"crl"`
	// Cert is the file of the client certificate that is shown to targets;
	// empty means none.
	Cert string `toml:"cert"`
	// Key is the file of Cert's private key.
	Key string `toml:"key"`
	// ServerName is sent as SNI and verified; empty means the target's host.
	ServerName string `toml:"server_name"`
	// MinTLS and MaxTLS are the oldest and the newest version of TLS: "1.0", "1.1", "1.2" or "1.3".
	MinTLS string `toml:"min_tls"`
	MaxTLS string `toml:"max_tls"`
	// Ciphers are those that TLS 1.2 and older may use, as those of a listener.
	Ciphers Strings `toml:"ciphers"`
	// Curves are the key exchanges, as those of a listener.
	Curves Strings `toml:"curves"`
	// InsecureSkipVerify accepts any certificate. For tests only.
	InsecureSkipVerify bool `toml:"insecure_skip_verify"`
}

// Forwarding is about the fields that tell targets who the client was.
type Forwarding struct {
	// TrustedProxies are the peers whose forwarding fields (X-Forwarded-* and
	// that of RFC 7239) and request id fields are believed.
	TrustedProxies []Prefix `toml:"trusted_proxies"`
	// XForwarded sends X-Forwarded-For, -Proto and -Host.
	XForwarded bool `toml:"x_forwarded"`
	// Forwarded sends RFC 7239's field.
	Forwarded bool `toml:"forwarded"`
	// ClientCert sends the certificate that a client has shown, as the fields Client-Cert and
	// Client-Cert-Chain (RFC 9440). Those that clients send are removed in any case.
	ClientCert bool `toml:"client_cert"`
	// Via is the pseudonym in the Via field (RFC 9110 section 7.6.3), such as "weir"; empty sends
	// none. Some origins compress nothing for requests that have one.
	Via string `toml:"via"`
	// RequestID is the name of the request id's field; empty sends none.
	RequestID string `toml:"request_id"`
	// ProxyStatus sends the Proxy-Status field (RFC 9209) with answers of weir's own that
	// are errors: what kind of failure it was, and a sentence without addresses.
	ProxyStatus bool `toml:"proxy_status"`
	// DropUnderscores removes every request field that has "_" in its name. Without it weir
	// removes only those fields that targets such as CGI programs would take for another one:
	// a field that weir writes or ends, the request id, or a field that the route sets or removes.
	DropUnderscores bool `toml:"drop_underscores"`
	// CancelOnHalfClose ends the exchange of a client that closed its sending side while
	// weir waits for the target, and tells the target so by closing too. A client that closes
	// its connection looks exactly like one that only ends its sending side and still
	// reads: with true a client that still reads gets no answer that takes longer than a second, and
	// with false targets work for clients that have gone. A connection of HTTP/2 whose client closes its sending
	// side ends at once in any case.
	CancelOnHalfClose bool `toml:"cancel_on_half_close"`
}

// Log is weir's own log: what happens to weir, and why.
type Log struct {
	// Output is "stderr", "stdout", a syslog server ("syslog:/dev/log",
	// "syslog:udp://host:514" or "syslog:tcp://host:601"), or a file that is opened again on
	// SIGHUP and SIGUSR1. The path of a file has a "/" or a "." in it.
	Output string `toml:"output"`
	// Facility is that of lines to a syslog server, such as "daemon" or "local0".
	Facility string `toml:"facility"`
	// Level is "debug", "info", "warn" or "error".
	Level string `toml:"level"`
	// Format is "text" or "json".
	Format string `toml:"format"`
}

// AccessLog has one line for each exchange.
type AccessLog struct {
	// Output is "stdout", "stderr", "off", a syslog server ("syslog:/dev/log",
	// "syslog:udp://host:514" or "syslog:tcp://host:601"), or a file that is opened again on
	// SIGHUP and SIGUSR1. The path of a file has a "/" or a "." in it.
	Output string `toml:"output"`
	// Format is "json", "combined", or a template of the log's fields for text.
	Format string `toml:"format"`
	// RequestHeaders and ResponseHeaders are names of header fields of requests and answers
	// that a line of JSON also has; templates name theirs themselves.
	RequestHeaders  []string `toml:"request_headers"`
	ResponseHeaders []string `toml:"response_headers"`
	// Facility is that of lines to a syslog server, such as "daemon" or "local0".
	Facility string `toml:"facility"`
}

// Metrics is the Prometheus page with health and readiness, on its own address.
type Metrics struct {
	// Address is "host:port" or "unix:/path"; empty means off.
	Address Address `toml:"address"`
	// PerRoute gives each route series of its own; without it their sums are there.
	PerRoute bool `toml:"per_route"`
	// PerTarget gives each target series of its own; without it their sums by upstream
	// are there.
	PerTarget bool `toml:"per_target"`
	// PerPath writes series for each path template of [statistics].
	PerPath bool `toml:"per_path"`
	// Histograms is "prometheus" for buckets with the label le, or "victoriametrics" for those
	// with vmrange, which are finer and which only VictoriaMetrics reads.
	Histograms string `toml:"histograms"`
}

// Lifecycle is about reload and shutdown.
type Lifecycle struct {
	// Delay is how long weir goes on serving after SIGTERM while /-/ready says 503
	// already, so that balancers in front notice before the listeners close. 0 means not
	// at all.
	Delay Duration `toml:"delay"`
	// Drain bounds how long running exchanges may take to end after SIGTERM,
	// and how long those of an old generation keep it alive after a reload.
	Drain Duration `toml:"drain"`
	// Watch reloads when the configuration file changes.
	Watch bool `toml:"watch"`
	// Upgrade bounds how long the new process of weir upgrade may take until it can serve.
	// After it the new process is ended, and the old one goes on.
	Upgrade Duration `toml:"upgrade"`
}
