package output_test

import (
	"strings"
	"testing"

	"weir/config"
	"weir/internal/output"
)

func TestCheckName(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"stderr", ""},
		{"/var/log/weir.log", ""},
		{"weir.log", ""},
		{"syslog:/dev/log", ""},
		{"off", `output: found "off": want "stderr", "stdout", "syslog:" and an address, or the path of a file`},
		{"stder", `did you mean "stderr"?`},
		{"journal", `found "journal"`},
		{"syslog:host", `want "syslog:/dev/log" or another socket`},
	} {
		err := config.Errors(output.CheckName(c.name, output.Stderr, output.Stdout)).Err()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.name, err, c.want)
		}
	}
}
