package proxy

import (
	"bytes"
	"strconv"
	"time"

	"weir/internal/head"
)

// GRPCStatus is the status of a gRPC call: its code and one more. The zero value is that of an
// exchange that is no call, or of one whose status never came.
type GRPCStatus uint8

// grpcStatus returns the status with this code, which is unknown if it is none of gRPC's.
func grpcStatus(code int) GRPCStatus {
	if code < 0 || code >= len(grpcNames)-1 {
		code = grpcUnknown
	}
	return GRPCStatus(code + 1)
}

// The codes that weir itself uses or judges.
const (
	grpcCancelled         = 1
	grpcUnknown           = 2
	grpcDeadlineExceeded  = 4
	grpcPermissionDenied  = 7
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcDataLoss          = 15
	grpcUnauthenticated   = 16

	grpcStatuses = 18
)

var grpcNames = [grpcStatuses]string{
	"", "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
	"UNAUTHENTICATED",
}

// String returns the name of the code; empty for the zero value.
func (s GRPCStatus) String() string { return grpcNames[s] }

// DeadlineExceeded says that the call's time was over.
func (s GRPCStatus) DeadlineExceeded() bool { return s == grpcDeadlineExceeded+1 }

var (
	grpcStatusName  = head.NewName("Grpc-Status")
	grpcMessageName = head.NewName("Grpc-Message")
	grpcTimeoutName = head.NewName("Grpc-Timeout")
)

// isGRPC says whether a message is one of gRPC, and not one of gRPC-Web.
func isGRPC(h *head.Head) bool {
	rest, ok := bytes.CutPrefix(h.Get(head.ContentType), []byte(typeGRPC))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// grpcStatusOf is the status in a head or a trailer section, which may be nil.
func grpcStatusOf(h *head.Head) GRPCStatus {
	if h == nil {
		return 0
	}
	text := h.Get(grpcStatusName)
	if len(text) == 0 {
		return 0
	}
	code, err := strconv.Atoi(string(text))
	if err != nil {
		code = grpcUnknown
	}
	return grpcStatus(code)
}

// grpcPatience is how long a client of gRPC may be silent: streams may have nothing to say for
// days, and their ends are found by the kernel's keep-alive.
const grpcPatience = 10 * 365 * 24 * time.Hour

// grpcTimeout is what a client's Grpc-Timeout says; 0 if it says nothing, or nothing that can be
// understood.
func grpcTimeout(h *head.Head) time.Duration {
	text := h.Get(grpcTimeoutName)
	if len(text) < 2 || len(text) > 9 {
		return 0
	}
	n, err := strconv.ParseUint(string(text[:len(text)-1]), 10, 32)
	unit := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': 1,
	}[text[len(text)-1]]
	if err != nil || unit == 0 {
		return 0
	}
	if hours := int64(n) / int64(time.Hour/unit); hours > int64(grpcPatience/time.Hour) {
		return grpcPatience
	}
	return max(time.Duration(n)*unit, 1)
}

// hasOwnDeadline says that the exchange's time is what its client has set, as callers of gRPC do.
func (x *Exchange) hasOwnDeadline() bool {
	return x.grpc && grpcTimeout(&x.Request) == x.time.limits.total
}

// boundCall sets the clock of a call: its streams may be silent in both directions for any time, and
// a target may take any time for its answer, unless the call's deadline, timeouts.total or a limit of one
// attempt says otherwise.
func (x *Exchange) boundCall() {
	l := &x.time.limits
	l.firstByte, l.idle = 0, 0
	if t := grpcTimeout(&x.Request); t > 0 && (l.total == 0 || t < l.total) {
		l.total = t
	}
}

// failCall answers a call with an error of weir's own: a head that is also the end.
func (x *Exchange) failCall(status int, cause Cause) {
	s := grpcStatus(grpcCodeOf(status, cause))
	x.ownHead(200)
	h := x.Response
	kind := []byte(typeGRPC)
	if x.web != nil {
		kind = append(kind, x.web.suffix...)
	}
	h.Add(head.ContentType, kind)
	h.Add(grpcStatusName, strconv.AppendInt(nil, int64(s-1), 10))
	h.Add(grpcMessageName, []byte("weir: "+cause.String()+grpcSentences[cause]))
	if x.proxy.tellsStatus {
		x.addProxyStatus(cause)
	}
	x.send(nil)
}

// breakCall notes the status of a call whose answer breaks off because of the exchange's cause: the one that its client
// makes of the reset.
func (x *Exchange) breakCall() {
	if !x.grpc || x.Result.GRPC != 0 {
		return
	}
	code := grpcInternal
	switch x.Result.Cause {
	case CauseTotal:
		code = grpcDeadlineExceeded
	case CauseClientGone, CauseClientSlow:
		code = grpcCancelled
	}
	x.Result.GRPC = grpcStatus(code)
}

// grpcSentences say to callers what a cause means that its name says too shortly.
var grpcSentences = [causes]string{
	CauseNoRoute:        ": no route takes this method",
	CauseNoUpstream:     ": there is no such upstream",
	CauseBodyTooLarge:   ": the messages are larger than the route takes",
	CauseNoTarget:       ": the upstream has no target that can be used",
	CauseBusy:           ": a limit of the upstream or of its connections is reached",
	CauseBreaker:        ": the circuit breaker of the upstream lets nothing through",
	CauseConnect:        ": no connection to a target came about",
	CauseConnectTimeout: ": connecting to a target took too long",
	CauseTLS:            ": the handshake with the target failed",
	CauseReset:          ": the target closed or reset the connection before it answered",
	CauseFirstByte:      ": the target did not answer in time",
	CauseBadResponse:    ": what the target answered is no sound HTTP",
	CauseWriteTimeout:   ": the target did not take the request in time",
	CauseTotal:          ": the deadline has passed",
	CausePanic:          ": a bug in weir or in a hook",
	CauseShutdown:       ": weir stopped",
}

// grpcCodeOf is the code that stands for a status of HTTP (by gRPC's own table where the cause does not
// say more).
func grpcCodeOf(status int, cause Cause) int {
	switch cause {
	case CauseTotal, CauseFirstByte:
		return grpcDeadlineExceeded
	case CauseClientGone, CauseClientSlow:
		return grpcCancelled
	case CauseBodyTooLarge, CauseHeadTooLarge:
		return grpcResourceExhausted
	case CausePanic:
		return grpcInternal
	case CauseReset, CauseConnect, CauseConnectTimeout, CauseTLS:
		return grpcUnavailable
	}
	switch status {
	case 400:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404, 405, 501:
		return grpcUnimplemented
	case 429, 502, 503, 504:
		return grpcUnavailable
	}
	return grpcUnknown
}

// judged is the status that the balancer is told: that of the response or, of a call, the one of HTTP
// that means what the call's status does.
func (a *attempt) judged() int {
	status := a.status()
	if !a.out.Call || status != 200 {
		return status
	}
	s := grpcStatusOf(&a.response)
	if s == 0 && a.body.Source != nil {
		s = grpcStatusOf(a.body.Trailer())
	}
	switch int(s) - 1 {
	case grpcUnavailable:
		return 503
	case grpcDeadlineExceeded:
		if a.impatient(a.firstByte) {
			return status
		}
		return 504
	case grpcUnknown, grpcInternal, grpcDataLoss:
		return 500
	}
	return status
}
