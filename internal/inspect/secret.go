package inspect

import (
	"bytes"
	"strings"
	"sync"
)

// hidden stands for a secret.
const hidden = "(hidden)"

// secretNames knows which names are those of secrets: of header fields, parameters, fields of forms and
// members of JSON. Case does not count, nor do "-", "_" and ".".
type secretNames struct {
	exact    map[string]bool
	endings  []string
	starts   []string
	contains []string

	mu sync.RWMutex
	// known are the names that were looked at before, as they were written.
	known map[string]bool
}

// The usual names of secrets.
var (
	secretWords = []string{
		"password", "passwd", "passphrase", "secret", "credential", "authorization", "cookie", "apikey", "accesskey", "privatekey",
		"subscriptionkey", "functionskey", "sharedkey", "accountkey", "jwt", "csrf", "xsrf", "signature", "cardnumber", "sessionid", "sessionkey",
	}
	secretEndings = []string{"token", "pwd", "session", "otp"}
	secretExact   = []string{"auth", "xauth", "sid", "sig", "pass", "pw", "pin", "cvv", "cvc", "ssn", "iban", "authenticationinfo", "proxyauthenticationinfo"}
)

// newSecretNames knows the usual names, and patterns of the operator's own.
func newSecretNames(patterns []string) *secretNames {
	n := &secretNames{exact: make(map[string]bool), contains: secretWords, endings: secretEndings, known: make(map[string]bool)}
	for _, name := range secretExact {
		n.exact[name] = true
	}
	for _, p := range patterns {
		open, closed := strings.HasPrefix(p, "*"), strings.HasSuffix(p, "*")
		name := string(plainName(nil, []byte(strings.Trim(p, "*"))))
		switch {
		case name == "":
		case open && closed:
			n.contains = append(n.contains[:len(n.contains):len(n.contains)], name)
		case open:
			n.endings = append(n.endings[:len(n.endings):len(n.endings)], name)
		case closed:
			n.starts = append(n.starts, name)
		default:
			n.exact[name] = true
		}
	}
	return n
}

// plainName appends a name in lower case and without separators.
func plainName(dst, name []byte) []byte {
	for _, c := range name {
		switch {
		case c == '-' || c == '_' || c == '.' || c == ' ':
		case 'A' <= c && c <= 'Z':
			dst = append(dst, c|0x20)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// The bounds of what is remembered about names.
const (
	maxKnownNames  = 4096
	maxKnownLength = 64
)

// has says whether name is that of a secret.
func (n *secretNames) has(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	if len(name) > maxKnownLength {
		return n.judge(name)
	}
	n.mu.RLock()
	is, known := n.known[string(name)]
	n.mu.RUnlock()
	if known {
		return is
	}
	is = n.judge(name)
	n.mu.Lock()
	if len(n.known) < maxKnownNames {
		n.known[string(name)] = is
	}
	n.mu.Unlock()
	return is
}

func (n *secretNames) judge(name []byte) bool {
	var room [maxKnownLength]byte
	plain := plainName(room[:0], name)
	// otp1 to otp6 are the digits of one.
	word := bytes.TrimRight(plain, "0123456789")
	return n.fits(plain) || len(word) < len(plain) && n.fits(word)
}

// fits says whether a name, as plainName returns it, is one of a secret.
func (n *secretNames) fits(plain []byte) bool {
	if n.exact[string(plain)] {
		return true
	}
	for _, word := range n.contains {
		if bytes.Contains(plain, []byte(word)) {
			return true
		}
	}
	for _, end := range n.endings {
		if bytes.HasSuffix(plain, []byte(end)) {
			return true
		}
	}
	for _, start := range n.starts {
		if bytes.HasPrefix(plain, []byte(start)) {
			return true
		}
	}
	return false
}
