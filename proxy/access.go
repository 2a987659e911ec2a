package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"weir/config"
	"weir/internal/access"
	"weir/internal/forward"
	"weir/internal/head"
)

var (
	errMisdirected   = errors.New("the field Host is another name than the one that TLS asked for (SNI)")
	errCredentials   = errors.New("no credentials of the scheme Basic")
	errNoCertificate = errors.New("the client has shown no certificate that is good")
	errListenerLists = errors.New("the listener's allow and deny do not let the client's address in")
	errRouteLists    = errors.New("the route's allow and deny do not let the client's address in")
	errAddressUnset  = errors.New("the client has no address, and only addresses of the list allow are allowed")
)

// admit refuses clients that the listener refuses, whatever they ask for.
func (x *Exchange) admit() verdict {
	l := x.Client.Listener
	if l.addresses != nil && x.checkAddress(l.addresses, errListenerLists) == ended {
		return ended
	}
	// The client has shown a certificate for the name in the handshake (RFC 9110 section 15.5.20).
	if h := x.Client.Handshake; l.asksForCertificates && h != nil && h.ServerName != "" && len(x.Host) > 0 &&
		!strings.EqualFold(h.ServerName, string(bytes.TrimSuffix(hostname(x.Host), []byte(".")))) {
		x.Result.Err = errMisdirected
		x.fail(421, CauseMisdirected)
		return ended
	}
	return goOn
}

// checkAddress refuses a client whose address is not allowed, because of why.
func (x *Exchange) checkAddress(list *access.Addresses, why error) verdict {
	if list.Allow(x.ClientAddr) {
		return goOn
	}
	if x.Result.Err = why; !x.ClientAddr.IsValid() {
		x.Result.Err = errAddressUnset
	}
	x.fail(403, CauseAddressDenied)
	return ended
}

// checkCertificate refuses a client that has shown no certificate that is good.
func (x *Exchange) checkCertificate() verdict {
	if string(x.Client.Peer.Verified) == forward.VerifiedOK {
		return goOn
	}
	x.Result.Err = errNoCertificate
	x.fail(403, CauseCertificateRequired)
	return ended
}

// auth is how a route asks clients who they are.
type auth struct {
	users     *access.Users
	challenge []byte
	pass      bool
}

func newAuth(c *config.BasicAuth) (*auth, error) {
	if c == nil {
		return nil, nil
	}
	users, err := access.NewUsers(c)
	if err != nil {
		return nil, fmt.Errorf("basic_auth: %w", err)
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.Realm)
	return &auth{users, []byte(`Basic realm="` + quoted + `", charset="UTF-8"`), c.PassAuthorization}, nil
}

// credentials returns what the client says who it is; false if it says nothing that can be used.
func (x *Exchange) credentials() (access.Credentials, bool) {
	if x.Request.Count(head.Authorization) != 1 {
		return access.Credentials{}, false
	}
	return access.ParseCredentials(x.Request.Get(head.Authorization))
}

// recognise says whether authenticate need not hash a password: there is none, or it is
// known to be right.
func (x *Exchange) recognise() bool {
	c, ok := x.credentials()
	if !ok {
		return true
	}
	if !x.proxy.verifier.Known(x.Route.auth.users, c) {
		return false
	}
	x.User = append(x.User[:0], c.User...)
	return true
}

// authenticate refuses clients without the name and password of a user.
func (x *Exchange) authenticate() verdict {
	if len(x.User) > 0 {
		return goOn // recognise was here
	}
	c, ok := x.credentials()
	if !ok {
		x.Result.Err = errCredentials
		x.fail(401, CauseUnauthorized)
		return ended
	}
	switch right, err := x.proxy.verifier.Verify(x.Route.auth.users, c); {
	case err != nil:
		x.Result.Err = err
		x.fail(503, CauseBusy)
	case !right:
		x.Result.Err = fmt.Errorf("wrong name or password of user %q", c.User)
		x.fail(401, CauseBadCredentials)
	default:
		x.User = append(x.User[:0], c.User...)
		return goOn
	}
	return ended
}
