package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Admin is the API and the page for operators, on an address of their own: what goes through, the
// state of targets, draining, purges. Anyone who reaches a loopback address or a unix socket may
// use it, unless there are tokens. Any other address needs tokens or client certificates.
type Admin struct {
	// Address is "host:port" or "unix:/path". Empty means off.
	Address Address `toml:"address"`
	// Tokens are the secrets that clients show, one each. None means that clients need none.
	Tokens []AdminToken `toml:"tokens"`
	// Certificates make it speak TLS, as those of a listener do. A token that travels over a network
	// needs that.
	Certificates []Certificate `toml:"certificates"`
	// ClientCA is a PEM file of the authorities whose certificates clients may show in place of a
	// token; without tokens they must show one. It needs Certificates.
	ClientCA string `toml:"client_ca"`
	// ClientRole is what clients with a certificate may do, "read" or "write".
	ClientRole string `toml:"client_role"`
	// Hosts are the names by which it is reached, besides localhost and addresses. Requests for any
	// other name are refused, because a page on the web may have made that name stand for this
	// address.
	Hosts []string `toml:"hosts"`
}

// AdminToken is a secret that a client of the admin API shows, and what it may do with it.
type AdminToken struct {
	// Name stands for the client in the log. It may be any text.
	Name string `toml:"name"`
	// File has the token, on one line of at least 16 characters.
	File string `toml:"file"`
	// Credential is the name of a credential of the service manager (LoadCredential= of systemd)
	// that has the token, in place of a file.
	Credential string `toml:"credential"`
	// Role is "read", for looking, or "write", for changes too.
	Role string `toml:"role"`
}

// The roles of a client of the admin API.
const (
	RoleRead  = "read"
	RoleWrite = "write"
)

func (a *Admin) setDefaults() { a.ClientRole = RoleWrite }

func (t *AdminToken) setDefaults() { t.Role = RoleRead }

func (a *Admin) validate(at keyPath) {
	at.oneOf("client_role", a.ClientRole, RoleRead, RoleWrite)
	if a.ClientCA != "" {
		at.file("client_ca", a.ClientCA)
		if len(a.Certificates) == 0 {
			at.wrong("client_ca", strconv.Quote(a.ClientCA), "certificates beside it, because clients show theirs by TLS")
		}
	}
	if a.Address != "" && !a.Address.Local() && len(a.Tokens) == 0 && a.ClientCA == "" {
		at.wrong("address", strconv.Quote(string(a.Address)), `a loopback address or "unix:/path", or tokens or client_ca that say who may use it from other machines`)
	}
	names := map[string]string{}
	for i := range a.Tokens {
		at.key("tokens").index(i).unique("name", a.Tokens[i].Name, names)
	}
	for i, name := range a.Hosts {
		if !validAuthority(name) || strings.Contains(name, ":") {
			at.key("hosts").index(i).wrong("", strconv.Quote(name), `a host name without a port, such as "weir.example.org"`)
		}
	}
}

func (t *AdminToken) validate(at keyPath) {
	at.needs("name", t.Name, `a name for the log such as "grafana"`)
	at.text("name", t.Name)
	at.oneOf("role", t.Role, RoleRead, RoleWrite)
	switch {
	case t.File != "" && t.Credential != "":
		at.wrong("credential", strconv.Quote(t.Credential), "either file or credential")
	case t.File != "":
		at.file("file", t.File)
	case t.Credential == "":
		at.wrong("file", "nothing", "file, or credential")
	case strings.ContainsAny(t.Credential, "/\x00"):
		at.wrong("credential", strconv.Quote(t.Credential), "the name of a credential, without a slash")
	}
}

// Local says whether only this machine reaches an address: a loopback address, localhost, or a
// unix socket.
func (a Address) Local() bool {
	network, text := a.Split()
	if network == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}
