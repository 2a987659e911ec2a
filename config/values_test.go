package config_test

import (
	"encoding"
	"math"
	"reflect"
	"testing"

	"weir/config"
)

// text checks what a text type makes of a text: want is what it writes again,
// or empty if it refuses the text.
func text[T any, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, in, want string) {
	t.Helper()
	var v T
	err := P(&v).UnmarshalText([]byte(in))
	if (err == nil) != (want != "") {
		t.Errorf("%T %q: got %v, error %v", v, in, v, err)
		return
	}
	if err != nil {
		if !reflect.ValueOf(v).IsZero() {
			t.Errorf("%T %q: was refused but changed the value to %v", v, in, v)
		}
		return
	}
	if got := reflect.ValueOf(v).Interface().(interface{ String() string }).String(); got != want {
		t.Errorf("%T %q: got %s, want %s", v, in, got, want)
	}
}

func TestDuration(t *testing.T) {
	check := func(in, want string) { t.Helper(); text[config.Duration](t, in, want) }
	check("5s", "5s")
	check("250ms", "250ms")
	check("1h30m", "1h30m")
	check("90m", "1h30m")
	check("60m", "1h")
	check("1h0m1s", "1h0m1s")
	check("0", "0s")
	check("10m", "10m")
	// refused
	check("", "")
	check("5", "")
	check("-5s", "")
	check("1d", "")
	check("9999999h", "")
}

func TestSize(t *testing.T) {
	check := func(in, want string) { t.Helper(); text[config.Size](t, in, want) }
	check("0", "0")
	check("512", "512")
	check("512B", "512")
	check("64KiB", "64KiB")
	check("65536", "64KiB")
	check("10MB", "10MB")
	check("1000KB", "1MB")
	check("2TiB", "2TiB")
	check("9223372036854775807", "9223372036854775807")
	// refused
	check("", "")
	check("KiB", "")
	check("-1", "")
	check("+1", "")
	check("1.5MiB", "")
	check("64 KiB", "")
	check("64k", "")
	check("9223372036854775808", "")
	check("8388608TiB", "")

	if got := config.Size(math.MaxInt64 / 1024 * 1024).String(); got != "9007199254740991KiB" {
		t.Errorf("got %s", got)
	}
}

func TestAddress(t *testing.T) {
	check := func(in, network, address string) {
		t.Helper()
		text[config.Address](t, in, map[bool]string{true: in, false: ""}[network != ""])
		if network == "" {
			return
		}
		if n, a := config.Address(in).Split(); n != network || a != address {
			t.Errorf("%q splits into %q and %q", in, n, a)
		}
	}
	check(":80", "tcp", ":80")
	check("127.0.0.1:0", "tcp", "127.0.0.1:0")
	check("[::1]:8080", "tcp", "[::1]:8080")
	check("localhost:65535", "tcp", "localhost:65535")
	check("unix:/run/weir.sock", "unix", "/run/weir.sock")
	check("systemd:http", "systemd", "http")
	// refused
	check("127.0.0.1", "", "")
	check("::1:80", "", "")
	check(":65536", "", "")
	check(":http", "", "")
	check("a b:80", "", "")
	check("http://127.0.0.1:80", "", "")
	check("unix:relative", "", "")
	check("systemd:", "", "")

	var none config.Address
	if err := none.UnmarshalText(nil); err != nil {
		t.Errorf("no address is refused: %v", err)
	}
	if n, a := none.Split(); n != "" || a != "" {
		t.Errorf("no address splits into %q and %q", n, a)
	}
}

func TestPrefix(t *testing.T) {
	check := func(in, want string) { t.Helper(); text[config.Prefix](t, in, want) }
	check("10.0.0.0/8", "10.0.0.0/8")
	check("fd00::/8", "fd00::/8")
	check("192.0.2.7", "192.0.2.7/32")
	check("::1", "::1/128")
	check("::ffff:192.0.2.7", "192.0.2.7/32")
	check("0.0.0.0/0", "0.0.0.0/0")
	// refused
	check("", "")
	check("10.0.0.1/8", "")
	check("10.0.0.0/33", "")
	check("example.org", "")
	check("fe80::1%eth0", "")
	check("::ffff:10.0.0.0/104", "")
}

func TestTemplate(t *testing.T) {
	lookup := func(name string) []byte { return []byte("<" + name + ">") }
	check := func(in, want string, names ...string) {
		t.Helper()
		v, err := config.ParseTemplate(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
			return
		}
		if got := string(v.Append([]byte("x"), lookup)); got != "x"+want {
			t.Errorf("%q: got %q, want %q", in, got, "x"+want)
		}
		if got := v.Names(); !reflect.DeepEqual(got, names) {
			t.Errorf("%q: names are %q, want %q", in, got, names)
		}
		if v.String() != in || v.IsZero() != (in == "") {
			t.Errorf("%q: String is %q, IsZero %v", in, v, v.IsZero())
		}
	}
	check("", "")
	check("plain", "plain")
	check("{service}/{version}", "<service>/<version>", "service", "version")
	check("a{x}{x}b", "a<x><x>b", "x", "x")
	check("{request.header:X-A_b}", "<request.header:X-A_b>", "request.header:X-A_b")
	// literal braces
	check("{{a}}", "{a}")
	check("{{{a}}}", "{<a>}", "a")

	refused := func(in, want string) {
		t.Helper()
		if _, err := config.ParseTemplate(in); err == nil || err.Error() != want {
			t.Errorf("%q: got error %v, want %s", in, err, want)
		}
	}
	refused("{", `a variable such as "{service}", or "{{" for a literal "{"`)
	refused("{}", `a variable such as "{service}", or "{{" for a literal "{"`)
	refused("{a b}", `a variable such as "{service}", or "{{" for a literal "{"`)
	refused("{a{b}}", `a variable such as "{service}", or "{{" for a literal "{"`)
	refused("a}", `"}}" for a literal "}"`)
}

func TestTemplateAppendAllocatesNothing(t *testing.T) {
	v := config.MustTemplate("/v2/{service}/x")
	value := []byte("one")
	lookup := func(string) []byte { return value }
	buffer := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buffer = v.Append(buffer[:0], lookup) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if string(buffer) != "/v2/one/x" {
		t.Errorf("got %q", buffer)
	}
}

// FuzzTemplate makes sure that any text is a template for itself once its braces
// are doubled.
func FuzzTemplate(f *testing.F) {
	f.Add("a{{b}}c")
	f.Add("{x}")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := config.ParseTemplate(s); err == nil && v.String() != s {
			t.Errorf("%q became %q", s, v)
		}
		doubled := ""
		for i := 0; i < len(s); i++ {
			doubled += s[i : i+1]
			if s[i] == '{' || s[i] == '}' {
				doubled += s[i : i+1]
			}
		}
		v, err := config.ParseTemplate(doubled)
		if err != nil || string(v.Append(nil, nil)) != s {
			t.Errorf("%q: got %q, error %v", doubled, v.Append(nil, nil), err)
		}
	})
}
