package config_test

import (
	"testing"

	"weir/config"
)

func TestAccessProblems(t *testing.T) {
	check := func(listener, route, want string) {
		t.Helper()
		_, err := config.Parse("f", []byte("[[listeners]]\naddress = \":1\"\n"+listener+"\n[[routes]]\nrespond = { status = 200 }\n"+route+"\n"))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	check(`allow = ["10.0.0.0/8"]`, `deny = ["10.0.0.1"]`, "")
	check(`strict_sni = true`, "", "f:3: listeners[0].strict_sni: found it without certificates: want it on a listener with certificates, which speaks TLS")
	check(`client_ca = "/nowhere"`, "", "f:3: listeners[0].client_ca: found \"/nowhere\" (no such file or directory): want a file")
	check(`client_auth = "optionl"`, "", `f:3: listeners[0].client_auth: found "optionl": want one of "require", "optional", "request"; did you mean "optional"?`)
	check("", `allow = ["10.0.0.1/8"]`, `f:6: routes[0].allow[0]: found "10.0.0.1/8": want 10.0.0.0/8, or 10.0.0.1`)
	check("allow = [\"::/0\"]\ndeny = [\"10.0.0.0/8\", \"::/0\"]", "",
		`f:4: listeners[0].deny[1]: found "::/0": want another range than one in allow: the smallest range that has the client decides`)
	check("", "basic_auth = { }", "f:6: routes[0].basic_auth.users: found nothing: want at least one user, or a file with users")
	check("", `basic_auth = { users = { "a:b" = "x" }, realm = "ü" }`, "f:6: routes[0].basic_auth.realm: found \"ü\": want a text of ASCII characters\n"+
		"f:6: routes[0].basic_auth.users: found \"a:b\": want a name without \":\" and control characters")
	check("", `basic_auth = { file = "/nowhere" }`, `f:6: routes[0].basic_auth.file: found "/nowhere" (no such file or directory): want a file`)
}
