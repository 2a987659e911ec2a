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

	// The fields from here on are in templates alone.
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
	fieldError:             {"error", "what went wrong, in detail, and the key of a limit that was reached; empty if nothing did"},
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

// appendText appends the value of f to the line of a template, "-" for an empty one. It is a switch
// and not a table of functions because the argument of a function value is moved to the heap.
func (f field) appendText(dst []byte, r *Record) []byte {
	switch f {
	case fieldTime:
		return appendTime(dst, r.Time)
	case fieldListener:
		return appendText(dst, r.Listener)
	case fieldScheme:
		return appendText(dst, r.Scheme)
	case fieldTLSVersion:
		return appendText(dst, r.TLSVersion)
	case fieldSNI:
		return appendText(dst, r.SNI)
	case fieldTimeCLF:
		return appendCLF(dst, r.Time)
	case fieldClient:
		return orHyphen(dst, appendAddr(dst, r.Client))
	case fieldPeer:
		return orHyphen(dst, appendAddrPort(dst, r.Peer))
	case fieldMethod:
		return appendText(dst, r.Method)
	case fieldRequestTarget:
		return appendText(dst, r.RequestTarget)
	case fieldProto:
		return appendText(dst, r.Proto)
	case fieldHost:
		return appendText(dst, r.Host)
	case fieldUserAgent:
		return appendText(dst, r.UserAgent)
	case fieldReferer:
		return appendText(dst, r.Referer)
	case fieldRequestID:
		return appendText(dst, r.RequestID)
	case fieldTraceID:
		return orHyphen(dst, appendID(dst, r.TraceID[:]))
	case fieldSpanID:
		return orHyphen(dst, appendID(dst, r.SpanID[:]))
	case fieldAuthUser:
		return appendText(dst, r.User)
	case fieldClientSubject:
		return appendText(dst, r.ClientSubject)
	case fieldClientFingerprint:
		return appendText(dst, r.ClientFingerprint)
	case fieldRoute:
		return appendText(dst, r.Route)
	case fieldUpstream:
		return appendText(dst, r.Upstream)
	case fieldTarget:
		return appendText(dst, r.Target)
	case fieldAttempts:
		return appendInt(dst, int64(r.Attempts))
	case fieldCache:
		return appendText(dst, r.Cache)
	case fieldStatus:
		return appendInt(dst, int64(r.Status))
	case fieldGRPCStatus:
		return appendText(dst, r.GRPCStatus)
	case fieldCause:
		return appendText(dst, r.Cause)
	case fieldError:
		return appendText(dst, r.errorText())
	case fieldBytesIn:
		return appendInt(dst, r.BytesIn)
	case fieldBytesOut:
		return appendInt(dst, r.BytesOut)
	case fieldDuration:
		return appendSeconds(dst, r.Duration)
	case fieldFirstByte:
		if r.FirstByte <= 0 {
			return append(dst, '-')
		}
		return appendSeconds(dst, r.FirstByte)
	}
	panic("BUG: access log field without a value")
}

// appendMembers appends the fields of a JSON line that are not empty, in the order of their numbers, each
// after a comma.
func (r *Record) appendMembers(dst []byte) []byte {
	dst = append(appendTime(fieldTime.appendKey(dst), r.Time), '"')
	dst = appendMember(dst, fieldListener, r.Listener)
	dst = appendMember(dst, fieldScheme, r.Scheme)
	if r.TLSVersion != "" || r.SNI != "" {
		dst = appendMember(dst, fieldTLSVersion, r.TLSVersion)
		dst = appendMember(dst, fieldSNI, r.SNI)
	}
	dst = r.appendAddresses(dst)
	dst = appendMember(dst, fieldMethod, r.Method)
	dst = appendMember(dst, fieldRequestTarget, r.RequestTarget)
	dst = appendMember(dst, fieldProto, r.Proto)
	dst = appendMember(dst, fieldHost, r.Host)
	dst = appendMember(dst, fieldUserAgent, r.UserAgent)
	dst = appendMember(dst, fieldReferer, r.Referer)
	dst = appendMember(dst, fieldRequestID, r.RequestID)
	if r.TraceID != (trace.TraceID{}) {
		dst = append(appendID(fieldTraceID.appendKey(dst), r.TraceID[:]), '"')
		dst = append(appendID(fieldSpanID.appendKey(dst), r.SpanID[:]), '"')
	}
	if len(r.User) > 0 || len(r.ClientSubject) > 0 || len(r.ClientFingerprint) > 0 {
		dst = appendMember(dst, fieldAuthUser, r.User)
		dst = appendMember(dst, fieldClientSubject, r.ClientSubject)
		dst = appendMember(dst, fieldClientFingerprint, r.ClientFingerprint)
	}
	dst = appendMember(dst, fieldRoute, r.Route)
	dst = appendMember(dst, fieldUpstream, r.Upstream)
	dst = appendMember(dst, fieldTarget, r.Target)
	dst = appendNumber(dst, fieldAttempts, int64(r.Attempts))
	dst = appendMember(dst, fieldCache, r.Cache)
	dst = appendNumber(dst, fieldStatus, int64(r.Status))
	dst = appendMember(dst, fieldGRPCStatus, r.GRPCStatus)
	dst = appendMember(dst, fieldCause, r.Cause)
	if r.Err != nil {
		dst = appendMember(dst, fieldError, r.errorText())
	}
	dst = appendNumber(dst, fieldBytesIn, r.BytesIn)
	dst = appendNumber(dst, fieldBytesOut, r.BytesOut)
	dst = appendSeconds(fieldDuration.appendKey(dst), r.Duration)
	if r.FirstByte > 0 {
		dst = appendSeconds(fieldFirstByte.appendKey(dst), r.FirstByte)
	}
	return dst
}

// appendAddresses appends the client and the peer.
func (r *Record) appendAddresses(dst []byte) []byte {
	if r.Client.IsValid() {
		dst = append(appendAddr(fieldClient.appendKey(dst), r.Client), '"')
	}
	if r.Peer.IsValid() {
		dst = append(appendAddrPort(fieldPeer.appendKey(dst), r.Peer), '"')
	}
	return dst
}

func (r *Record) errorText() string {
	if r.Err == nil {
		return ""
	}
	return r.Err.Error()
}
