package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"weir/config"
)

func TestErrorPagesProblems(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large.html")
	if err := os.WriteFile(large, make([]byte, config.MaxErrorPage+1), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(files, want string) {
		t.Helper()
		_, err := config.Parse("f", []byte("[[listeners]]\naddress = \":1\"\n[[routes]]\nrespond = { status = 200 }\n[error_pages]\nfiles = { "+files+" }\n"))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	const file = `"errorpages_test.go"`
	check(`404 = `+file+`, 5xx = `+file, "")
	for _, status := range []string{"200", "40", "600", "3xx", "x"} {
		check(status+" = "+file, `f:6: error_pages.files.`+status+`: found "`+status+`": want a status from "400" to "599", "4xx" or "5xx"`)
	}
	check(`404 = "/nowhere"`, `f:6: error_pages.files.404: found "/nowhere" (no such file or directory): want a file`)
	check(`404 = "`+large+`"`, `f:6: error_pages.files.404: found 1048577 bytes: want a file of at most 1 MiB`)
}
