package server

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"weir/config"
	"weir/lb"
)

// unusedKeys reports keys of upstreams that change nothing, because the key that would put them to use is not set: a path
// for probes, say, where nothing is probed.
func unusedKeys(cfg *config.Config) (problems config.Errors) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Upstreams)) {
		u := cfg.Upstreams[name]
		problems = append(problems, unusedOfUpstream(&u).Below("upstreams", name)...)
	}
	for i := range cfg.Listeners {
		problems = append(problems, unusedOfListener(cfg, &cfg.Listeners[i]).Below("listeners", i)...)
	}
	return problems
}

// changesNothing is the problem of a key that without makes useless.
func changesNothing(without, want string, key ...any) config.Problem {
	return config.Problem{Key: config.Key(key...), Message: fmt.Sprintf("changes nothing, because %s: want %s", without, want)}
}

func unusedOfUpstream(u *config.Upstream) (problems config.Errors) {
	usual := config.DefaultUpstream()
	// report tells of those keys of a table that have not their usual value.
	report := func(table []any, got, usual any, without, want string, keys ...string) {
		for _, key := range keys {
			if !sameValue(got, usual, key) {
				problems = append(problems, changesNothing(without, want, append(slices.Clone(table), key)...))
			}
		}
	}
	if !slices.ContainsFunc(u.Targets, mayUseTLS) {
		report([]any{"tls"}, u.TLS, usual.TLS, "no target is reached by https", `targets such as "https://host"`, "ca", "crl", "cert", "key", "server_name", "insecure_skip_verify")
	}
	if h := &u.Health; h.Probe == usual.Health.Probe {
		report([]any{"health"}, *h, usual.Health, `health.probe is "off"`, `"http", "tcp" or "grpc" there`,
			"path", "host", "status", "body", "service", "interval", "jitter", "timeout", "rise", "fall", "wait")
	}
	if p := &u.Health.Passive; p.Outlier == 0 {
		report([]any{"health", "passive"}, *p, usual.Health.Passive, "health.passive.outlier is 0", "more there", "outlier_requests", "interval")
	}
	if u.Balance != "hash" && slices.ContainsFunc(new(options).balancing(), func(a lb.Algorithm) bool { return a.Name == u.Balance }) {
		report([]any{"hash"}, u.Hash, usual.Hash, fmt.Sprintf("balance is %q", u.Balance), `"hash" there`, "by", "bounded_load")
	}
	if s := &u.Sticky; s.Cookie == "" {
		report([]any{"sticky"}, *s, usual.Sticky, "sticky.cookie is empty", "the name of a cookie there", "path", "max_age", "secure", "http_only", "same_site", "secret")
	}
	if r := &u.Retry; r.Hedge == 0 {
		report([]any{"retry"}, *r, usual.Retry, "retry.hedge is 0", "a share such as 0.95 there", "hedge_min")
	}
	if b := &u.Breaker; b.Failures == 0 {
		report([]any{"breaker"}, *b, usual.Breaker, "breaker.failures is 0", "a share such as 0.5 there", "requests", "window", "open", "half_open")
	}
	return problems
}

func unusedOfListener(cfg *config.Config, l *config.Listener) (problems config.Errors) {
	add := func(key, without, want string) { problems = append(problems, changesNothing(without, want, key)) }
	if l.Issuer == config.IssuerACME && cfg.Certificates.OnDemand.Ask == "" && len(cfg.Domains(l)) == 0 {
		add("tls", "the listener has certificates and no domains", "domains there, or certificates.on_demand.ask")
	}
	if len(l.Ciphers) > 0 && l.MinTLS == "1.3" {
		add("ciphers", `min_tls is "1.3", whose ciphers are always on`, `"1.2" there`)
	}
	if l.ClientAuth == config.ClientAuthOptional && l.ClientCA == "" {
		add("client_auth", "there is no client_ca", "the authorities of clients there")
	}
	return problems
}

// mayUseTLS says whether a target is reached by TLS, or may be: what a source finds is not known.
func mayUseTLS(t config.Target) bool { return t.IsSource() || strings.HasPrefix(t.URL, "https://") }

// sameValue says whether the field that a key names has the same value in both structs.
func sameValue(a, b any, key string) bool {
	t := reflect.TypeOf(a)
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") == key {
			return reflect.DeepEqual(reflect.ValueOf(a).Field(i).Interface(), reflect.ValueOf(b).Field(i).Interface())
		}
	}
	panic("BUG: there is no key " + key)
}
