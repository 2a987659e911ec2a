package server_test

import (
	"strings"
	"testing"

	"weir/internal/testkit"
)

// Names that differ from others only in "_" do not reach targets that could take them for
// those others.
func TestUnderscores(t *testing.T) {
	t.Parallel()
	heads := make(chan *testkit.Message, 1)
	origin := testkit.Listen(t, func(c *testkit.Conn) {
		for {
			heads <- c.Request()
			c.Send(ok)
		}
	})
	check := func(settings, fields, want string) {
		t.Helper()
		c := run(t, "[forwarding]\nx_forwarded = false\nvia = \"\"\n%s\n[[routes]]\nupstream = \"o\"\nrequest_headers.remove = [\"X-User\"]\nrequest_headers.set.X_Tenant = \"a\"\nrequest_headers.set.X-Role = \"b\"\n"+
			"[upstreams.o]\ntargets = [%q]\ntimeouts = { total = \"1m\", deadline_header = \"X-Time-Left\" }\n", settings, origin.URL).dial()
		c.Send("GET / HTTP/1.1\r\nHost: a\r\n" + strings.ReplaceAll(fields, ";", "\r\n") + "\r\n\r\n")
		c.Response("GET")
		var got []string
		for _, f := range receive(t, heads).Fields {
			if strings.HasPrefix(f.Value, "!") {
				got = append(got, f.Name)
			}
		}
		equal(t, "what is left of "+fields, strings.Join(got, ";"), want)
	}
	check("", "X_Forwarded_For: !;x-forwarded_for: !;X_Real_IP: !;X_FORWARDED_PROTO: !;X_Forwarded_Anything: !", "")
	check("", "X_Request_Id: !;x_request-id: !", "")
	check("request_id = \"Trace-Id\"", "TRACE_ID: !;X_Request_Id: !", "X_Request_Id")
	check("", "X_User: !;x_user: !;X_Role: !;X-Tenant: !;x_tenant: !;X_Other: !", "X_Other")
	check("", "Transfer_Encoding: !;Content_Length: !;Proxy_Authorization: !;Keep_Alive: !;X_Time_Left: !", "")
	check("", "user_id: !;__: !;_X-User: !;X--User: !", "user_id;__;_X-User;X--User")
	check("drop_underscores = true", "user_id: !;__: !;X-Other: !", "X-Other")
}
