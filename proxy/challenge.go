package proxy

import (
	"bytes"

	"weir/internal/head"
)

// challengePath is where a CA looks for the answer to a challenge (RFC 8555 section 8.3).
var challengePath = []byte("/.well-known/acme-challenge/")

// answerChallenge answers a CA that wants to see whether the host is weir's, on any listener and before all
// rules about who may ask. Paths that weir has not told a CA go on: another client of ACME
// may have a route.
func (x *Exchange) answerChallenge() verdict {
	if !bytes.HasPrefix(x.RequestTarget, challengePath) || string(x.Request.Method()) != "GET" {
		return goOn
	}
	answer, ok := x.proxy.challenge(string(x.Host), string(x.RequestTarget))
	if !ok {
		return goOn
	}
	x.ownHead(200)
	x.Response.Add(head.ContentType, []byte("text/plain"))
	x.Result.Cause = CauseChallenge
	x.send([]byte(answer))
	return ended
}
