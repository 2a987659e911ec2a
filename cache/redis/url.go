package redis

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// address is what a URL says: "redis://user:password@host:port,host:port/db".
type address struct {
	tls                bool
	username, password string
	hosts              []string // "host:port", at least one
	db                 int
}

// wantURL is what a URL may be.
const wantURL = `"redis://host:port/db", or "rediss://" for TLS, with hosts separated by commas`

// parseURL reads a URL whose hosts without a port have the given one. Errors never show the
// user or the password.
func parseURL(text, port string) (address, error) {
	var a address
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return a, fmt.Errorf("found a value without \"://\": want %s", wantURL)
	}
	switch scheme {
	case "redis":
	case "rediss":
		a.tls = true
	default:
		return a, fmt.Errorf("found scheme %q: want %s", scheme, wantURL)
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		user, password, _ := strings.Cut(rest[:i], ":")
		var errUser, errPassword error
		a.username, errUser = url.PathUnescape(user)
		a.password, errPassword = url.PathUnescape(password)
		if errUser != nil || errPassword != nil {
			return a, fmt.Errorf("found a user or password with a %% that begins no code such as %%40: want %%25 for a %%")
		}
		rest = rest[i+1:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		return a, fmt.Errorf("found %q after the hosts: want nothing but /db, the number of a database", rest[i:])
	}
	hosts, db, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		host, err := withPort(host, port)
		if err != nil {
			return a, err
		}
		a.hosts = append(a.hosts, host)
	}
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 16)
		if err != nil {
			return a, fmt.Errorf("found database %q: want a number from 0 to 65535", db)
		}
		a.db = int(n)
	}
	return a, nil
}

// withPort returns host with its port, or with the given one if it has none.
func withPort(host, port string) (string, error) {
	name, number, err := net.SplitHostPort(host)
	if err != nil {
		name, number = host, port
		if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
			name = strings.TrimSuffix(inner, "]")
		}
		if strings.Count(name, ":") == 1 || strings.ContainsAny(name, "[]") {
			return "", fmt.Errorf("found host %q: want host, host:port or [address]:port", host)
		}
	}
	if name == "" {
		return "", fmt.Errorf("found an empty host: want %s", wantURL)
	}
	if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("found port %q of host %q: want a number from 1 to 65535", number, name)
	}
	return net.JoinHostPort(name, number), nil
}
