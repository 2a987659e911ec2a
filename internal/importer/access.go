package importer

import (
	"net/netip"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"weir/config"
)

// setAccess translates rules of which the first that fits decides into lists of which the smallest range
// decides. Whoever fits none is let in.
func setAccess(d *draft, r *route, rules []accessRule) {
	everybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	var seen []netip.Prefix
	var allow, deny list
	closedToAll := false
	for _, rule := range rules {
		ranges := everybody
		if rule.text != "" {
			p, err := parseRange(rule.text)
			if err != nil {
				r.refuse(d, rule.at, forbidden, "address %q: want an address or a range", rule.text)
				return
			}
			ranges = []netip.Prefix{p}
		}
		for _, p := range ranges {
			if inside(p, seen) {
				continue // a rule before it decides for all of them
			}
			seen = append(seen, p)
			if rule.allow {
				allow = append(allow, p.String())
			} else if p.Bits() > 0 {
				deny = append(deny, p.String())
			}
		}
		closedToAll = closedToAll || rule.text == "" && !rule.allow
	}
	switch {
	case closedToAll && len(allow) == 0:
		deny = append(deny, "0.0.0.0/0", "::/0")
	case !closedToAll && len(allow) > 0 && !inside(everybody[0], seen):
		allow = append(allow, "0.0.0.0/0", "::/0") // an allow alone would refuse all others
	}
	if len(deny) == 0 && len(allow) == 2 && allow[0] == "0.0.0.0/0" {
		return
	}
	if len(allow) > 0 {
		r.set("allow", allow)
	}
	if len(deny) > 0 {
		r.set("deny", deny)
	}
}

func parseRange(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}

// inside says whether a range lies in one of others.
func inside(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if o.Bits() <= p.Bits() && o.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// takesHash says whether weir can verify passwords by this hash.
func takesHash(hash string) bool {
	_, err := bcrypt.Cost([]byte(hash))
	return err == nil || strings.HasPrefix(hash, "$argon2id$")
}

// setPasswordFile makes the route ask for a password of a file as htpasswd writes it.
func setPasswordFile(d *draft, r *route, at Place, realm, file string) {
	text, err := config.ReadFile(file)
	if err != nil {
		d.note(at, "%s cannot be read here, so its hashes were not looked at: weir takes bcrypt and argon2id", file)
	}
	for line := range strings.Lines(string(text)) {
		name, hash, found := strings.Cut(strings.TrimSpace(line), ":")
		hash, _, _ = strings.Cut(hash, ":")
		if found && !strings.HasPrefix(name, "#") && !takesHash(hash) {
			r.refuse(d, at, forbidden, "%s has a hash, that of %q, which is not bcrypt or argon2id: make it anew by htpasswd -B", file, name)
			break
		}
	}
	r.set("basic_auth.realm", realm)
	r.set("basic_auth.file", file)
}

// setPasswords makes the route ask for a password of users.
func setPasswords(d *draft, r *route, at Place, realm string, users []pair) {
	for _, u := range users {
		if hash := u.value.(string); !takesHash(hash) {
			r.refuse(d, at, forbidden, "the hash of user %q is not bcrypt or argon2id: make it anew by htpasswd -nB", u.key)
			return
		}
	}
	r.set("basic_auth.realm", realm)
	for _, u := range users {
		r.set(keyed("basic_auth", "users", u.key), u.value)
	}
}
