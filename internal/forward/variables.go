package forward

import "slices"

// The variables that templates may use besides the captures of their route's
// path. They exist once, here; proxy implements the look-up.
const (
	// ClientAddr is the client's address, without a port.
	ClientAddr = "client_addr"
	// ClientPort is the port of the peer that is connected.
	ClientPort = "client_port"
	// ClientSubject is the subject of the certificate that the client has shown (RFC 4514), empty
	// if there was none.
	ClientSubject = "client_subject"
	// ClientIssuer is the issuer of that certificate, and ClientSerial its serial number in hexadecimal.
	ClientIssuer = "client_issuer"
	ClientSerial = "client_serial"
	// ClientSANs are the alternative names of that certificate, such as "DNS:a.example.org, IP:192.0.2.1".
	ClientSANs = "client_sans"
	// ClientCertificate is that certificate, as the field Client-Cert has it (RFC 9440).
	ClientCertificate = "client_certificate"
	// ClientVerified is what became of its verification: see Peer.Verified.
	ClientVerified = "client_verified"
	// ClientFingerprint is the SHA-256 of that certificate, 64 digits in lower case.
	ClientFingerprint = "client_fingerprint"
	// AuthUser is the name of the user that basic_auth has verified.
	AuthUser = "auth_user"
	// Host is the host as the client had it: see Forwarder.Host.
	Host = "host"
	// Hostname is Host without its port.
	Hostname = "hostname"
	// Path is the raw path of the request's target.
	Path = "path"
	// Query is the raw query, without its "?".
	Query = "query"
	// Search is the raw query with its "?", or empty if there is no query.
	Search = "search"
	// Method is the request's method.
	Method = "method"
	// Scheme is "http" or "https", as the client had it: see Forwarder.Scheme.
	Scheme = "scheme"
	// RequestID is the request's id.
	RequestID = "request_id"
	// TraceID is the id of the trace that the request is a part of, 32 hexadecimal digits; empty
	// without tracing.
	TraceID = "trace_id"
	// Route is the name of the route.
	Route = "route"
	// Upstream is the name of the upstream.
	Upstream = "upstream"
	// Target is the address of the target; empty in request rules.
	Target = "target"
)

// Variables returns the names of all variables, in the order they are
// documented in.
func Variables() []string {
	return []string{
		ClientAddr, ClientPort, ClientSubject, ClientIssuer, ClientSerial, ClientFingerprint, ClientSANs, ClientCertificate, ClientVerified, AuthUser, Host, Hostname, Path, Query, Search, Method, Scheme, RequestID, TraceID, Route, Upstream, Target,
	}
}

// Known says whether name is a variable.
func Known(name string) bool { return slices.Contains(Variables(), name) }
