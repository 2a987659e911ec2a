package importer

import (
	"regexp"
	"slices"
	"strings"
)

// nginxTranslated are the directives that are translated, where they stand.
var nginxTranslated = strings.Fields(`
	server upstream location listen server_name include if return rewrite internal root alias index try_files
	proxy_pass grpc_pass fastcgi_pass uwsgi_pass scgi_pass memcached_pass proxy_set_header proxy_hide_header add_header client_max_body_size
	proxy_connect_timeout proxy_read_timeout proxy_send_timeout grpc_connect_timeout grpc_read_timeout grpc_send_timeout keepalive_timeout client_header_timeout
	proxy_next_upstream proxy_next_upstream_tries allow deny auth_basic auth_basic_user_file satisfy expires
	gzip gzip_types gzip_min_length proxy_cache proxy_cache_valid proxy_cache_bypass proxy_no_cache proxy_cache_key proxy_cache_use_stale
	ssl ssl_certificate ssl_certificate_key ssl_protocols ssl_ciphers ssl_verify_client ssl_client_certificate
	proxy_ssl_name proxy_ssl_server_name proxy_ssl_trusted_certificate proxy_ssl_certificate proxy_ssl_certificate_key proxy_ssl_verify
	set_real_ip_from real_ip_header access_log error_page proxy_intercept_errors`)

// nginxHarmless are directives that need no translation: weir does it by itself, or has no use for it.
var nginxHarmless = strings.Fields(`
	types default_type sendfile sendfile_max_chunk aio directio tcp_nopush tcp_nodelay server_tokens error_log log_format log_not_found log_subrequest
	server_names_hash_bucket_size server_names_hash_max_size types_hash_max_size types_hash_bucket_size variables_hash_max_size variables_hash_bucket_size
	proxy_headers_hash_max_size proxy_headers_hash_bucket_size map_hash_bucket_size map_hash_max_size charset
	proxy_http_version proxy_buffering proxy_buffer_size proxy_buffers proxy_busy_buffers_size proxy_max_temp_file_size proxy_temp_file_write_size proxy_temp_path
	proxy_request_buffering proxy_socket_keepalive proxy_pass_header proxy_pass_request_headers proxy_pass_request_body
	client_body_buffer_size client_body_temp_path client_body_timeout send_timeout client_header_buffer_size large_client_header_buffers
	keepalive_requests keepalive_time keepalive_disable reset_timedout_connection lingering_close lingering_time lingering_timeout
	gzip_vary gzip_proxied gzip_comp_level gzip_buffers gzip_http_version gzip_disable gzip_static etag if_modified_since
	ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_session_ticket_key ssl_prefer_server_ciphers ssl_dhparam ssl_ecdh_curve ssl_buffer_size
	ssl_stapling ssl_stapling_verify ssl_trusted_certificate ssl_early_data ssl_verify_depth http2 http2_max_concurrent_streams
	proxy_ssl_protocols proxy_ssl_ciphers proxy_ssl_session_reuse proxy_ssl_verify_depth
	proxy_cache_path proxy_cache_lock proxy_cache_lock_timeout proxy_cache_lock_age proxy_cache_background_update proxy_cache_revalidate
	limit_req_zone limit_conn_zone limit_req_status limit_conn_status limit_req_log_level limit_conn_log_level resolver resolver_timeout
	real_ip_recursive open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors merge_slashes msie_padding
	break set proxy_redirect_off absolute_redirect port_in_redirect server_name_in_redirect allow_methods`)

// protective are parts of names of directives that protect something. Those that are translated
// are not looked up here.
var protective = strings.Fields(`auth access limit_req limit_conn limit_except rate_limit ratelimit crowdsec coraza deny allow secure jwt referer modsec secrule naxsi waf verify guard token csrf oidc saml geoip2_deny`)

func isProtective(name string) bool {
	return slices.ContainsFunc(protective, func(part string) bool { return strings.Contains(strings.ToLower(name), part) })
}

// judge notes the directives of a block that are not translated. Those that protect something close
// routes, see protect.
func (n *nginxImport) judge(s *scope) {
	for _, dir := range s.list {
		value := strings.Join(dir.args, " ")
		switch {
		case slices.Contains(nginxTranslated, dir.name), slices.Contains(nginxHarmless, dir.name), isProtective(dir.name), dir.name == closesAll, dir.name == closesFiles:
		case strings.HasPrefix(dir.name, "fastcgi_"), strings.HasPrefix(dir.name, "uwsgi_"), strings.HasPrefix(dir.name, "scgi_"): // with their pass
		case dir.name == "proxy_redirect" && (value == "off" || value == "default"):
		case (dir.name == "autoindex" || dir.name == "ssi" || dir.name == "underscores_in_headers") && value == "off": // as here
		case dir.name == "map" && dir.arg(0) == "$http_upgrade": // weir forwards upgrades by itself
		case dir.name != "map" && dir.name != "split_clients" && (len(value) > 60 || dir.block != nil):
			n.d.note(dir.at, "%s: not translated", dir.name)
		default:
			n.d.note(dir.at, "%s %s: not translated", dir.name, value)
		}
	}
}

// protect translates who may use a location, and closes the route for what is not translated.
func (n *nginxImport) protect(s *scope, r *route) {
	for level := s; level != nil; level = level.outer {
		for _, dir := range level.list {
			switch {
			case dir.name == closesAll && onlyFiles(s) && hidesDots(dir.arg(0)): // weir does not serve these, either
			case dir.name == closesAll:
				r.refuse(n.d, dir.at, forbidden, untold, dir.arg(0))
			case slices.Contains(nginxTranslated, dir.name), slices.Contains(nginxHarmless, dir.name), !isProtective(dir.name):
			case dir.arg(0) == "off" || s.value(dir.name) == "off":
			case dir.name == "limit_conn" && n.boundsAddress(&dir) && (level == n.http || level.outer == n.http):
				// of the listener
			case strings.HasPrefix(dir.name, "limit_req") || strings.HasPrefix(dir.name, "limit_conn"):
				r.limit(n.d, dir.at, "%s %s is not translated", dir.name, strings.Join(dir.args, " "))
			case dir.block != nil && dir.name != "limit_except":
				r.refuse(n.d, dir.at, forbidden, "%s is not translated", dir.name)
			default:
				r.refuse(n.d, dir.at, forbidden, "%s %s is not translated", dir.name, strings.Join(dir.args, " "))
			}
		}
	}
	n.addresses(s, r)
	n.passwords(s, r)
	if dir := s.last("satisfy"); dir != nil && dir.arg(0) == "any" && r.get("basic_auth.realm") != nil && (r.get("allow") != nil || r.get("deny") != nil) {
		r.refuse(n.d, dir.at, forbidden, "satisfy any: weir asks for all of address and password")
	}
}

// onlyFiles says whether a location answers with files whose path is that of the request.
func onlyFiles(s *scope) bool {
	return s.value("root") != "" && !slices.ContainsFunc(s.list, func(d directive) bool {
		return strings.HasSuffix(d.name, "_pass") || d.name == "alias" || d.name == "return" || d.name == "rewrite" || d.name == "if"
	})
}

// hidesDots says whether a location, as closesAll names it, is for files alone whose name, or that of a folder of theirs, begins with a
// dot, but not for those in /.well-known: a route with files answers such requests with 404.
func hidesDots(location string) bool {
	pattern, _ := strings.CutPrefix(strings.TrimPrefix(strings.TrimPrefix(location, "location ~"), "*"), " ")
	rest, dot := strings.CutPrefix(pattern, `/\.`)
	if !dot || strings.Contains(rest, "|") {
		return false
	}
	if strings.HasPrefix(rest, "(?!well-known") {
		return true
	}
	re, err := regexp.Compile("(?i)" + pattern)
	return err == nil && !re.MatchString("/.well-known") && !re.MatchString("/.well-known/acme-challenge/token")
}

// accessRule is an allow or a deny, in order.
type accessRule struct {
	allow bool
	text  string // a range; empty means all
	at    Place
}

// addresses translates allow and deny.
func (n *nginxImport) addresses(s *scope, r *route) {
	level := s
	for level != nil && level.own("allow") == nil && level.own("deny") == nil {
		level = level.outer
	}
	if level == nil {
		return
	}
	if from := s.last("set_real_ip_from"); from != nil && (len(n.http.own("set_real_ip_from")) == 0 || n.d.global.get("forwarding.trusted_proxies") == nil) {
		r.refuse(n.d, from.at, forbidden, "allow and deny look at addresses from a field that weir is not told to believe (real_ip_header, set_real_ip_from)")
		return
	}
	var rules []accessRule
	for _, dir := range level.list {
		if dir.name != "allow" && dir.name != "deny" {
			continue
		}
		rule := accessRule{allow: dir.name == "allow", text: dir.arg(0), at: dir.at}
		if rule.text == "all" {
			rule.text = ""
		}
		rules = append(rules, rule)
	}
	setAccess(n.d, r, rules)
}
