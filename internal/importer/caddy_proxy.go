package importer

import (
	"fmt"
	"strings"
)

// proxy translates reverse_proxy.
func (c *caddyImport) proxy(rs *rules, d *directive, cond condition, args []string) {
	r := route{section: section{at: d.at}}
	urls, secure := args, false
	for _, o := range d.block {
		switch o.name {
		case "to":
			urls = append(urls[:len(urls):len(urls)], o.args...)
		case "transport":
			for _, t := range o.block {
				secure = secure || strings.HasPrefix(t.name, "tls")
			}
		}
	}
	var targets list
	for _, text := range urls {
		target, ok := caddyTarget(text, secure)
		if !ok {
			r.refuse(c.d, d.at, notImplemented, "reverse_proxy %s is not translated", text)
			continue
		}
		targets = append(targets, target)
	}
	if len(targets) == 0 {
		r.refuse(c.d, d.at, notImplemented, "reverse_proxy has no upstream that is translated")
		c.terminal(rs, d, cond, r)
		return
	}
	u := c.newUpstream(d, targets)
	r.set("upstream", literal(u.name))
	for i := range d.block {
		c.option(&d.block[i], &r, u)
	}
	c.terminal(rs, d, cond, r)
}

// newUpstream makes an upstream with a name of its own.
func (c *caddyImport) newUpstream(d *directive, targets list) *section {
	_, host, _ := strings.Cut(targets[0], "://")
	if host == "" {
		host = "unix"
	}
	host = asName.Replace(host)
	name := host
	for n := 1; c.d.upstream(name) != nil; n++ {
		name = fmt.Sprintf("%s-%d", host, n+1)
	}
	u := c.d.newUpstream(d.at, name)
	u.set("targets", targets)
	if len(targets) > 1 {
		u.set("balance", "random") // the default of Caddy
	}
	return u
}

// caddyTarget is the URL of an upstream of Caddy.
func caddyTarget(text string, secure bool) (string, bool) {
	if rest, ok := strings.CutPrefix(text, "unix/"); ok {
		return "unix:" + rest, true
	}
	scheme, host, ok := strings.Cut(text, "://")
	if !ok {
		scheme, host = "http", text
		if secure {
			scheme = "https"
		}
	}
	if strings.HasPrefix(host, ":") {
		host = "127.0.0.1" + host
	}
	if strings.ContainsAny(host, "{/") || host == "" || scheme != "http" && scheme != "https" && scheme != "h2c" {
		return "", false
	}
	return scheme + "://" + host, true
}

// caddyPolicies are ways to balance.
var caddyPolicies = map[string][2]string{
	"random": {"random"}, "round_robin": {"round_robin"}, "least_conn": {"least_connections"}, "ip_hash": {"hash", "client_address"}, "client_ip_hash": {"hash", "client_address"},
	"uri_hash": {"hash", "path"}, "random_choose": {"p2c"},
}

// option translates an option of reverse_proxy.
func (c *caddyImport) option(o *directive, r *route, u *section) {
	value := o.arg(0)
	switch o.name {
	case "to", "flush_interval", "request_buffers", "response_buffers", "stream_close_delay", "stream_timeout", "lb_try_duration", "lb_try_interval", "health_follow_redirects":
	case "lb_policy":
		if p, ok := caddyPolicies[value]; ok {
			u.set("balance", p[0])
			if p[1] != "" {
				u.set("hash.by", p[1])
			}
		} else if value == "header" || value == "query" {
			u.set("balance", "hash")
			u.set("hash.by", value+":"+o.arg(1))
		} else if value == "cookie" {
			name := o.arg(1)
			if name == "" {
				name = "lb"
			}
			u.set("sticky.cookie", name)
		} else {
			c.d.note(o.at, "lb_policy %s: not translated", strings.Join(o.args, " "))
		}
	case "lb_retries":
		u.set("retry.attempts", min(number(value)+1, 8))
	case "health_uri":
		u.set("health.probe", "http")
		u.set("health.path", value)
	case "health_interval":
		u.set("health.interval", value)
	case "health_timeout":
		u.set("health.timeout", value)
	case "health_status":
		if len(value) == 3 && strings.HasSuffix(value, "xx") {
			value = value[:1] + "00-" + value[:1] + "99"
		}
		u.set("health.status", list{value})
	case "health_body":
		u.set("health.body", value)
	case "fail_duration":
		u.set("health.passive.eject", value)
	case "max_fails":
		u.set("health.passive.failures", number(value))
	case "header_up", "header_down":
		c.changeField(o, r)
	case "transport":
		c.transport(o, r, u)
	case "rewrite", "method", "handle_response", "replace_status", "dynamic":
		r.refuse(c.d, o.at, notImplemented, "reverse_proxy: %s is not translated", o.name)
	default:
		c.d.note(o.at, "reverse_proxy: %s is not translated", o.name)
	}
}

func (c *caddyImport) changeField(o *directive, r *route) {
	table := map[string]string{"header_up": "request_headers", "header_down": "response_headers"}[o.name]
	name, value := o.arg(0), o.arg(1)
	switch {
	case strings.EqualFold(name, "Host") && (value == "{upstream_hostport}" || value == "{http.reverse_proxy.upstream.hostport}"):
		r.set("host_header", "target")
	case strings.EqualFold(name, "Host") && (value == "{host}" || value == "{hostport}"):
	case strings.EqualFold(name, "X-Real-IP") && value == "{remote_host}":
		r.set("request_headers.set.X-Real-IP", "{client_addr}")
	case strings.HasPrefix(strings.ToLower(name), "x-forwarded-"): // weir does it
	case name == "":
	default:
		if apply := c.field(&directive{at: o.at, name: name, args: o.args[1:]}, table); apply != nil {
			apply(r)
		}
	}
}

func (c *caddyImport) transport(o *directive, r *route, u *section) {
	if o.arg(0) != "http" {
		r.refuse(c.d, o.at, notImplemented, "transport %s: weir speaks HTTP to targets", o.arg(0))
		return
	}
	for _, t := range o.block {
		switch value := t.arg(0); t.name {
		case "tls", "keepalive", "keepalive_idle_conns", "compression", "read_buffer", "write_buffer", "max_conns_per_host", "keepalive_interval":
		case "tls_insecure_skip_verify":
			u.set("tls.insecure_skip_verify", true)
			c.d.note(t.at, "tls_insecure_skip_verify takes any certificate, here too")
		case "tls_server_name":
			u.set("tls.server_name", value)
		case "tls_trusted_ca_certs":
			u.set("tls.ca", value)
		case "dial_timeout":
			u.set("timeouts.connect", value)
		case "response_header_timeout":
			u.set("timeouts.first_byte", value)
		case "read_timeout":
			u.set("timeouts.idle", value)
		case "write_timeout":
			u.set("timeouts.write", value)
		case "versions":
			if strings.Contains(strings.Join(t.args, " "), "h2c") {
				targets := u.get("targets").(list)
				for i := range targets {
					targets[i] = strings.Replace(targets[i], "http://", "h2c://", 1)
				}
			}
		default:
			c.d.note(t.at, "transport http: %s is not translated", t.name)
		}
	}
}
