package config_test

import (
	"testing"

	"weir/config"
)

func TestIsName(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"http://app:8080": true, "https://app.test": true, "h2c://app.test.:80/": true, "http://APP": true, "http://1.2.3.4.test": true,
		"http://10.0.0.1:80": false, "https://[fd00::1]": false, "http://localhost:80": false, "http://LOCALHOST": false, "http://a.localhost.:80": false,
		"http://app:80#10.0.0.1": false, "unix:/a": false, "demo:a": false, "handler:a": false, "dns:app:80": false, "file:/a": false, "list+http://app/list": false,
	} {
		target := config.DefaultTarget(url)
		if got := target.IsName(); got != want {
			t.Errorf("%s: a name: %t, want %t", url, got, want)
		}
		if target.Resolve = config.ResolveOne; target.IsName() {
			t.Errorf(`%s with resolve = "one" is a name`, url)
		}
		u := config.Upstream{Targets: []config.Target{config.DefaultTarget(url)}}
		if static := len(u.Static()) == 1; static != !(want || u.Targets[0].IsSource()) {
			t.Errorf("%s: static: %t", url, static)
		}
	}
}

// A target may be one address of a name.
func TestAddressOfName(t *testing.T) {
	t.Parallel()
	for url, good := range map[string]bool{
		"http://app:80#10.0.0.1": true, "https://app#fd00::1": true, "h2c://app:80#10.0.0.1": true, "http://app:80#10.0.0.1/": true,
		"http://app:80#": false, "http://app:80#other": false, "http://app:80#10.0.0.1:80": false, "http://app:80#fe80::1%eth0": false, "http://app:80#[fd00::1]": false,
		"http://10.0.0.1:80#10.0.0.2": false, "http://[fd00::1]#fd00::2": false, "http://localhost#127.0.0.1": false, "http://#10.0.0.1": false, "http://app#10.0.0.1#10.0.0.2": false,
	} {
		target := config.DefaultTarget(url)
		if _, want := target.URLProblem(); (want == "") != good {
			t.Errorf("%s: got the problem %q, good: %t", url, want, good)
		}
	}
}

// All spellings of a URL name the same target.
func TestOriginOfTarget(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://app:8080": "http://app:8080", "http://app:8080/": "http://app:8080", "HTTP://App.Test:8080/": "http://app.test:8080", "http://app:08080": "http://app:8080",
		"http://app:80": "http://app", "https://app:443/": "https://app", "h2c://app:0080": "h2c://app", "https://app:80": "https://app:80", "http://app:443": "http://app:443",
		"http://[FD00:0:0::1]:80": "http://[fd00::1]", "http://[::1]:8080": "http://[::1]:8080", "http://[::ffff:10.0.0.1]": "http://[::ffff:10.0.0.1]",
		"http://App:80#10.0.0.1": "http://app#10.0.0.1", "https://app#FD00::0:1": "https://app#fd00::1",
		"unix:/Run/A:80": "unix:/Run/A:80", "unix:/a/": "unix:/a/", "demo:Big": "demo:Big", "file:/A": "file:/A", "dns:App:80": "dns:App:80",
		"http://a/b:80": "http://a/b:80", "http://A//": "http://A//", "ftp://A": "ftp://A", "": "",
	} {
		if got := (&config.Target{URL: url}).Origin(); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}
