package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// LocalOnly returns h for an address that only this machine reaches. It refuses
// requests whose Host is not a name of this machine: a page on the web whose name its
// owner makes an address of this machine (DNS rebinding) could read h through a browser.
// On other addresses, and on unix sockets, h is returned as it is.
func LocalOnly(h http.Handler, listens net.Addr) http.Handler {
	if tcp, ok := listens.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !local(r.Host) {
			fail(w, http.StatusForbidden, fmt.Errorf("found host %q: want localhost or an address, because this page is for this machine only", r.Host))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// local says whether a Host cannot be the name of another site.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost")
}
