package proxy

import (
	"crypto/x509"
	"errors"
	"net"
	"strconv"
	"syscall"

	"weir/internal/head"
)

// proxyErrors are the types of Proxy-Status (RFC 9209 section 2.3) of the causes that clients
// can be told of.
var proxyErrors = [causes]string{
	CauseNoRoute:        "destination_not_found",
	CauseNoUpstream:     "destination_not_found",
	CauseAddressDenied:  "http_request_denied",
	CauseUnauthorized:   "http_request_denied",
	CauseBadCredentials: "http_request_denied",
	CauseMisdirected:    "http_request_denied",
	CauseNoFile:         "destination_not_found",
	CauseFileDenied:     "http_request_denied",
	CauseFileFailed:     "proxy_internal_error",
	CauseBadRequest:     "http_request_error",
	CauseBadPath:        "http_request_error",
	CauseBadVersion:     "http_request_error",
	CauseMethod:         "http_request_error",
	CauseCoding:         "http_request_error",
	CauseLengthRequired: "http_request_error",
	CauseHeadTooLarge:   "http_request_error",
	CauseTargetTooLong:  "http_request_error",
	CauseBodyTooLarge:   "http_request_error",
	CauseHeadTimeout:    "http_request_error",
	CauseClientSlow:     "http_request_error",
	CauseNoTarget:       "destination_unavailable",
	CauseBusy:           "connection_limit_reached",
	CauseBreaker:        "destination_unavailable",
	CauseConnect:        "destination_unavailable",
	CauseConnectTimeout: "connection_timeout",
	CauseTLS:            "tls_protocol_error",
	CauseReset:          "connection_terminated",
	CauseFirstByte:      "http_response_timeout",
	CauseBadResponse:    "http_protocol_error",
	CauseTruncated:      "http_response_incomplete",
	CauseStalled:        "connection_read_timeout",
	CauseWriteTimeout:   "connection_write_timeout",
	CauseTotal:          "http_response_timeout",
	CausePanic:          "proxy_internal_error",
	CauseShutdown:       "proxy_internal_error",
}

var proxyStatus = head.NewName("Proxy-Status")

// addProxyStatus says in the response why it is weir's own. The text never has an address:
// clients need not know where targets are.
func (x *Exchange) addProxyStatus(cause Cause) {
	kind := proxyErrors[cause]
	if kind == "" {
		return
	}
	text := cause.String()
	if better, reason := publicReason(x.Result.Err); reason != "" {
		text += ": " + reason
		if better != "" {
			kind = better
		}
	}
	b := append(x.room.scratch[:0], "weir; error="...)
	b = append(append(b, kind...), "; details="...)
	x.room.scratch = strconv.AppendQuote(b, text) // of ASCII without control bytes: a string of RFC 9651
	x.Response.Add(proxyStatus, x.room.scratch)
}

// publicReason is what clients may know of an error: a sentence without names and addresses, and
// the type of Proxy-Status if the error says more than its cause.
func publicReason(err error) (kind, reason string) {
	var (
		dns         *net.DNSError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		certificate x509.CertificateInvalidError
		errno       syscall.Errno
		defect      *head.Defect
	)
	switch {
	case errors.As(err, &dns) && dns.IsTimeout:
		return "dns_timeout", "the name server does not answer"
	case errors.As(err, &dns):
		return "dns_error", "no such host"
	case errors.As(err, &authority):
		return "tls_certificate_error", "certificate signed by unknown authority"
	case errors.As(err, &hostname):
		return "tls_certificate_error", "certificate is for another name"
	case errors.As(err, &certificate):
		return "tls_certificate_error", "certificate has expired, is not yet valid, or is not for this use"
	case errors.As(err, &defect):
		return "", defect.Error()
	case errors.As(err, &errno):
		if errno == syscall.ECONNREFUSED {
			return "connection_refused", errno.Error()
		}
		return "", errno.Error()
	}
	return "", ""
}
