package accesslog

import (
	"net/netip"
	"time"

	"weir/internal/head"
	"weir/trace"
)

// Record is what a line can say of one exchange that has ended. Log reads it and
// keeps nothing of it: strings and bytes are borrowed for the call. Bytes that
// came from the client or the target may contain anything; Log escapes them.
type Record struct {
	// Time is when the first byte of the request was read.
	Time time.Time
	// Client is the client's address as trusted proxies report it; invalid for a
	// client on a unix socket.
	Client netip.Addr
	// Peer is the other end of the client's connection; invalid for a unix socket.
	Peer netip.AddrPort

	// Listener, Route, Upstream and Target are names from the configuration;
	// empty if the exchange ended before one was chosen.
	Listener, Route, Upstream, Target string

	// Method to Referer are what the client sent; empty if the request does not
	// have it or could not be read.
	Method, RequestTarget, Host, UserAgent, Referer []byte
	// Proto is the version of HTTP of the request, such as "HTTP/1.1".
	Proto string
	// RequestID is the one the target got.
	RequestID []byte
	// TraceID and SpanID are what the exchange is in traces; zero without tracing.
	TraceID trace.TraceID
	SpanID  trace.SpanID

	// User is the user whose password was verified; ClientSubject and ClientFingerprint are of the
	// certificate that the client has shown. They are empty without.
	User, ClientSubject, ClientFingerprint []byte

	// Status is the status of the response; 0 if no response was sent.
	Status int
	// Cause is the name of the reason why the exchange ended as it did.
	Cause string
	// Err is the error that Cause stands for; nil if all is well.
	Err error
	// Attempts counts the targets that were tried.
	Attempts int
	// BytesIn and BytesOut count the bytes of the two bodies, without framing.
	BytesIn, BytesOut int64

	// Duration is from the first byte in to the last byte out.
	Duration time.Duration
	// FirstByte is how long the target took from the end of the request to its
	// response head; 0 without a response head.
	FirstByte time.Duration

	// Scheme is "http" or "https", as the client had it.
	Scheme []byte
	// TLSVersion and SNI are the version of TLS that the client speaks and the name that it
	// asked for; empty if not known.
	TLSVersion, SNI string
	// Cache says what the cache did; empty if the cache was not asked.
	Cache string
	// GRPCStatus is the name of the status of a gRPC call; empty for other exchanges.
	GRPCStatus string

	// Request is the head that the client sent, but for what hooks changed, and Response
	// the one that it got; nil if there is none.
	Request, Response *head.Head
}

// field is the number of a field of a line.
type field uint8

const (
	fieldTime field = iota
	fieldListener
	fieldScheme
	fieldTLSVersion
	fieldSNI
	fieldClient
	fieldPeer
	fieldMethod
	fieldRequestTarget
	fieldProto
	fieldHost
	fieldUserAgent
	fieldReferer
	fieldRequestID
	fieldTraceID
	fieldSpanID
	fieldAuthUser
	fieldClientSubject
	fieldClientFingerprint
	fieldRoute
	fieldUpstream
	fieldTarget
	fieldAttempts
	fieldCache
	fieldStatus
	fieldGRPCStatus
	fieldCause
	fieldError
	fieldBytesIn
	fieldBytesOut
	fieldDuration
	fieldFirstByte

	// Those from here on are only in templates.
	fieldTimeCLF
	fieldRequestHeader
	fieldResponseHeader

	fieldCount
	noField = fieldCount
	inJSON  = fieldTimeCLF // the number of fields of a JSON line
)

// Field is the name of a field and one line on its meaning.
type Field struct{ Name, Meaning string }

// fields is the only list of names: JSON, templates, their errors and the
// reference page use it. A JSON line has this order, up to inJSON.
var fields = [fieldCount]Field{
	fieldTime:              {"time", "when the request's first byte was read, RFC 3339 in UTC with milliseconds"},
	fieldListener:          {"listener", "name of the listener"},
	fieldScheme:            {"scheme", "http or https, as the client had it, behind trusted proxies too"},
	fieldClient:            {"client", "address of the client, as the trusted proxies tell it"},
	fieldPeer:              {"peer", "address and port of the connection's other end"},
	fieldMethod:            {"method", "request method"},
	fieldRequestTarget:     {"request_target", "request target, byte for byte as the client sent it"},
	fieldProto:             {"proto", "protocol of the request, such as HTTP/1.1"},
	fieldHost:              {"host", "host the client asked for"},
	fieldUserAgent:         {"user_agent", "User-Agent of the request"},
	fieldReferer:           {"referer", "Referer of the request"},
	fieldRequestID:         {"request_id", "request id, taken from a trusted proxy or made"},
	fieldTraceID:           {"trace_id", "id of the trace that the exchange is a part of; empty without tracing"},
	fieldSpanID:            {"span_id", "id of the exchange's span in that trace"},
	fieldAuthUser:          {"auth_user", "user whose password was verified"},
	fieldClientSubject:     {"client_subject", "subject of the certificate that the client has shown"},
	fieldClientFingerprint: {"client_fingerprint", "SHA-256 of that certificate, in hexadecimal"},
	fieldRoute:             {"route", "name of the route"},
	fieldUpstream:          {"upstream", "name of the upstream"},
	fieldTarget:            {"target", "target that was tried last"},
	fieldAttempts:          {"attempts", "number of targets that were tried"},
	fieldCache:             {"cache", "what the cache did"},
	fieldStatus:            {"status", "status of the answer; 0 if nothing was answered"},
	fieldGRPCStatus:        {"grpc_status", "status of a gRPC call, such as OK or UNAVAILABLE"},
	fieldCause:             {"cause", "why the exchange ended as it did"},
	fieldError:             {"error", "what went wrong, in detail; empty if nothing did"},
	fieldBytesIn:           {"bytes_in", "bytes of the request body"},
	fieldBytesOut:          {"bytes_out", "bytes of the answer's body"},
	fieldDuration:          {"duration", "seconds from the first byte in to the last byte out"},
	fieldFirstByte:         {"first_byte", "seconds the target took from the end of the request, or the start of the attempt if that came later, to its response head"},
}

// allFields are fields, and those of the handshake and of templates alone.
var allFields = func() [fieldCount]Field {
	all := fields
	all[fieldTLSVersion] = Field{"tls_version", "version of TLS that the client speaks, such as TLSv1.3"}
	all[fieldSNI] = Field{"sni", "name that the client asked for in its TLS handshake"}
	all[fieldTimeCLF] = Field{"time_clf", "the time as other servers write it, in UTC: 31/Jan/2026:23:59:59 +0000"}
	all[fieldRequestHeader] = Field{"request_header:NAME", "a header field of the request; several lines of it are joined by commas"}
	all[fieldResponseHeader] = Field{"response_header:NAME", "a header field of the answer"}
	return all
}()

// Fields returns the fields of a line in the order of a JSON line, and then those that only
// templates have.
func Fields() []Field { return append([]Field(nil), allFields[:]...) }

// style is how a value is written.
type style uint8

const (
	styleText style = iota // plain; "-" for an empty value
	styleJSON              // quoted where JSON quotes; nothing for an empty value
)

// append appends key and the value of f, escaped for s. In JSON an empty field appends
// nothing. It is a switch and not a table of functions because the argument of a
// function value is moved to the heap.
func (f field) append(dst []byte, key string, r *Record, s style) []byte {
	switch f {
	case fieldTime:
		return appendTime(dst, key, r.Time, s)
	case fieldListener:
		return appendText(dst, key, r.Listener, s)
	case fieldScheme:
		return appendText(dst, key, r.Scheme, s)
	case fieldTLSVersion:
		return appendText(dst, key, r.TLSVersion, s)
	case fieldSNI:
		return appendText(dst, key, r.SNI, s)
	case fieldTimeCLF:
		return appendCLF(dst, r.Time)
	case fieldClient:
		return appendAddr(dst, key, r.Client, s)
	case fieldPeer:
		return appendAddrPort(dst, key, r.Peer, s)
	case fieldMethod:
		return appendText(dst, key, r.Method, s)
	case fieldRequestTarget:
		return appendText(dst, key, r.RequestTarget, s)
	case fieldProto:
		return appendText(dst, key, r.Proto, s)
	case fieldHost:
		return appendText(dst, key, r.Host, s)
	case fieldUserAgent:
		return appendText(dst, key, r.UserAgent, s)
	case fieldReferer:
		return appendText(dst, key, r.Referer, s)
	case fieldRequestID:
		return appendText(dst, key, r.RequestID, s)
	case fieldTraceID:
		return appendID(dst, key, r.TraceID[:], r.TraceID == trace.TraceID{}, s)
	case fieldSpanID:
		return appendID(dst, key, r.SpanID[:], r.SpanID == trace.SpanID{}, s)
	case fieldAuthUser:
		return appendText(dst, key, r.User, s)
	case fieldClientSubject:
		return appendText(dst, key, r.ClientSubject, s)
	case fieldClientFingerprint:
		return appendText(dst, key, r.ClientFingerprint, s)
	case fieldRoute:
		return appendText(dst, key, r.Route, s)
	case fieldUpstream:
		return appendText(dst, key, r.Upstream, s)
	case fieldTarget:
		return appendText(dst, key, r.Target, s)
	case fieldAttempts:
		return appendInt(append(dst, key...), int64(r.Attempts))
	case fieldCache:
		return appendText(dst, key, r.Cache, s)
	case fieldStatus:
		return appendInt(append(dst, key...), int64(r.Status))
	case fieldGRPCStatus:
		return appendText(dst, key, r.GRPCStatus, s)
	case fieldCause:
		return appendText(dst, key, r.Cause, s)
	case fieldError:
		if r.Err == nil {
			return appendText(dst, key, "", s)
		}
		return appendText(dst, key, r.Err.Error(), s)
	case fieldBytesIn:
		return appendInt(append(dst, key...), r.BytesIn)
	case fieldBytesOut:
		return appendInt(append(dst, key...), r.BytesOut)
	case fieldDuration:
		return appendSeconds(append(dst, key...), r.Duration)
	case fieldFirstByte:
		return appendOptionalSeconds(dst, key, r.FirstByte, s)
	}
	panic("BUG: access log field without a value")
}
