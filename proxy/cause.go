package proxy

// Cause is the named reason why an exchange ended as it did. Access log
// and metrics use its name.
type Cause uint8

// The causes. Each has its name below.
const (
	// CauseOK: the target's response was delivered whole.
	CauseOK Cause = iota
	// CauseCached: the response came from the cache.
	CauseCached
	// CauseNotCached: the client wanted a stored response or none.
	CauseNotCached
	// CausePurge: a PURGE was answered.
	CausePurge
	// CauseRedirect: the route redirects.
	CauseRedirect
	// CauseFixed: the route has a fixed response.
	CauseFixed
	// CauseFile: the response is a file of the route's folder, or what the client's conditions
	// ask for in its place.
	CauseFile
	// CauseChallenge: a CA got the proof that a name is weir's.
	CauseChallenge
	// CauseHook: a hook answered.
	CauseHook
	// CauseUpgraded: the connection was upgraded and its tunnel has ended.
	CauseUpgraded
	// CauseTunnelIdle: an upgraded connection, or one that was passed on, was silent for too long.
	CauseTunnelIdle
	// CausePassed: the connection was passed on without ending its TLS, and has ended.
	CausePassed

	// CauseNoRoute: no route fits.
	CauseNoRoute
	// CauseNoUpstream: the route's template names an upstream that is not there.
	CauseNoUpstream
	// CauseAddressDenied: the listener or the route does not allow the client's address.
	CauseAddressDenied
	// CauseCertificateRequired: the client has shown no certificate that is good, and the route wants one.
	CauseCertificateRequired
	// CauseUnauthorized: the client has not said who it is.
	CauseUnauthorized
	// CauseBadCredentials: the client's name or password is wrong.
	CauseBadCredentials
	// CauseMisdirected: Host and SNI are different names where clients show certificates.
	CauseMisdirected
	// CauseNoFile: the route's folder has no file for the path.
	CauseNoFile
	// CauseFileDenied: weir may not read the file.
	CauseFileDenied
	// CauseFileFailed: the file or its folder cannot be read.
	CauseFileFailed
	// CauseBadRequest: the request is malformed.
	CauseBadRequest
	// CauseBadPath: matching and forwarding could disagree about the path.
	CauseBadPath
	// CauseBadVersion: the request line names a version of HTTP other than 1.0 and 1.1.
	CauseBadVersion
	// CauseMethod: CONNECT or TRACE, or neither GET nor HEAD where there are files only.
	CauseMethod
	// CauseCoding: a transfer coding that weir does not know.
	CauseCoding
	// CauseLengthRequired: a body without a length where one is needed.
	CauseLengthRequired
	// CauseHeadTooLarge: the header fields exceed the listener's limit.
	CauseHeadTooLarge
	// CauseTargetTooLong: the request line exceeds the listener's limit.
	CauseTargetTooLong
	// CauseBodyTooLarge: the body exceeds the route's limit.
	CauseBodyTooLarge
	// CauseHeadTimeout: the request head did not arrive in time.
	CauseHeadTimeout
	// CauseClientSlow: the client sent or took a body below the minimum rate.
	CauseClientSlow
	// CauseClientGone: the client went away before the end.
	CauseClientGone

	// CauseNoTarget: the upstream has no usable target.
	CauseNoTarget
	// CauseBusy: a limit of the upstream or of its connections is reached.
	CauseBusy
	// CauseBreaker: the upstream's circuit breaker lets nothing through.
	CauseBreaker
	// CauseConnect: no connection to a target came about.
	CauseConnect
	// CauseConnectTimeout: connecting took too long.
	CauseConnectTimeout
	// CauseTLS: the handshake with the target failed.
	CauseTLS
	// CauseReset: the target closed or reset before it answered.
	CauseReset
	// CauseFirstByte: the target did not answer in time.
	CauseFirstByte
	// CauseBadResponse: what the target answered is not HTTP, or not sound.
	CauseBadResponse
	// CauseTruncated: the response body ended before its framing did.
	CauseTruncated
	// CauseStalled: the target stopped in the middle of a body.
	CauseStalled
	// CauseWriteTimeout: the target did not take the request in time.
	CauseWriteTimeout
	// CauseHedge: an attempt was given up because another one for the same
	// exchange answered first.
	CauseHedge
	// CauseTotal: all attempts together took longer than the exchange may.
	CauseTotal

	// CausePanic: a bug in weir or in a hook.
	CausePanic
	// CauseShutdown: weir stopped before the exchange ended.
	CauseShutdown

	causes
)

var causeNames = [causes]string{
	CauseOK:                  "ok",
	CauseCached:              "cached",
	CauseNotCached:           "not_cached",
	CausePurge:               "purge",
	CauseRedirect:            "redirect",
	CauseFixed:               "fixed_response",
	CauseFile:                "file",
	CauseChallenge:           "acme_challenge",
	CauseHook:                "hook",
	CauseUpgraded:            "upgraded",
	CauseTunnelIdle:          "tunnel_idle",
	CausePassed:              "passed",
	CauseNoRoute:             "no_route",
	CauseNoUpstream:          "no_upstream",
	CauseAddressDenied:       "address_denied",
	CauseCertificateRequired: "certificate_required",
	CauseUnauthorized:        "unauthorized",
	CauseBadCredentials:      "bad_credentials",
	CauseMisdirected:         "misdirected",
	CauseNoFile:              "no_file",
	CauseFileDenied:          "file_denied",
	CauseFileFailed:          "file_failed",
	CauseBadRequest:          "bad_request",
	CauseBadPath:             "bad_path",
	CauseBadVersion:          "bad_version",
	CauseMethod:              "method_refused",
	CauseCoding:              "unknown_coding",
	CauseLengthRequired:      "length_required",
	CauseHeadTooLarge:        "head_too_large",
	CauseTargetTooLong:       "target_too_long",
	CauseBodyTooLarge:        "body_too_large",
	CauseHeadTimeout:         "head_timeout",
	CauseClientSlow:          "client_slow",
	CauseClientGone:          "client_gone",
	CauseNoTarget:            "no_target",
	CauseBusy:                "busy",
	CauseBreaker:             "breaker_open",
	CauseConnect:             "connect_failed",
	CauseConnectTimeout:      "connect_timeout",
	CauseTLS:                 "tls_failed",
	CauseReset:               "reset",
	CauseFirstByte:           "first_byte_timeout",
	CauseBadResponse:         "bad_response",
	CauseTruncated:           "truncated",
	CauseStalled:             "stalled",
	CauseWriteTimeout:        "write_timeout",
	CauseHedge:               "hedged",
	CauseTotal:               "total_timeout",
	CausePanic:               "panic",
	CauseShutdown:            "shutdown",
}

// String returns the name of the cause.
func (c Cause) String() string { return causeNames[c] }

// Causes returns the names of all causes.
func Causes() []string { return append([]string(nil), causeNames[:]...) }
