package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// BasicAuth asks clients for a name and a password (RFC 7617). Use it over TLS: anybody on the
// way can read both.
type BasicAuth struct {
	// Realm is what browsers show when they ask.
	Realm string `toml:"realm"`
	// Users are names and hashes of passwords: bcrypt ("$2y$...") or argon2id
	// ("$argon2id$...").
	Users map[string]string `toml:"users"`
	// File has more users, in lines "name:hash" as htpasswd -B writes them. It is read at the
	// start and at each reload. Empty means none.
	File string `toml:"file"`
	// PassAuthorization sends the client's Authorization field on to targets, who then
	// learn the password. Without it they get none; the variable auth_user has the name.
	PassAuthorization bool `toml:"pass_authorization"`
}

func (b *BasicAuth) setDefaults() { b.Realm = "weir" }

func (b *BasicAuth) validate(at keyPath) {
	if hasControl(b.Realm) || strings.ContainsFunc(b.Realm, func(r rune) bool { return r > '~' }) {
		at.wrong("realm", strconv.Quote(b.Realm), "a text of ASCII characters")
	}
	at.required("users", len(b.Users) == 0 && b.File == "", "at least one user, or a file with users")
	for _, name := range slices.Sorted(maps.Keys(b.Users)) {
		if want := UserNameProblem(name); want != "" {
			at.wrong("users", strconv.Quote(name), want)
		}
	}
	if b.File != "" {
		at.file("file", b.File)
	}
}

// UserNameProblem says what is allowed in place of a user's name; empty if the name is good.
func UserNameProblem(name string) string {
	if name == "" || hasControl(name) || strings.Contains(name, ":") {
		return `a name without ":" and control characters`
	}
	return ""
}

// validateAccess checks two lists of addresses.
func validateAccess(at keyPath, allow, deny []Prefix) {
	for i, p := range deny {
		if slices.Contains(allow, p) {
			at.key("deny").index(i).wrong("", strconv.Quote(p.String()), "another range than one in allow: the smallest range that has the client decides")
		}
	}
}
