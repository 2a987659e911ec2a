# Varnish: only for cache hits.
vcl 4.1;
backend origin {
	.host = "{{.OriginHost}}";
	.port = "{{.OriginPort}}";
}

sub vcl_backend_fetch {
{{- if .Forwarding}}
	set bereq.http.X-Forwarded-Proto = "http";
	set bereq.http.X-Forwarded-Host = bereq.http.Host;
	set bereq.http.Via = "1.1 varnish";
	set bereq.http.X-Request-Id = bereq.xid;
{{- else}}
	unset bereq.http.X-Forwarded-For;
	unset bereq.http.Via;
{{- end}}
}
{{- if .Compress}}

sub vcl_backend_response {
	set beresp.do_gzip = true;
}
{{- end}}
{{- if not .Forwarding}}

sub vcl_deliver {
	unset resp.http.Via;
}
{{- end}}
