# Varnish: only for cache hits.
vcl 4.1;
backend origin {
	.host = "{{.OriginHost}}";
	.port = "{{.OriginPort}}";
}
