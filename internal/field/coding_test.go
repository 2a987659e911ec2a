package field

import "testing"

func TestAcceptsCoding(t *testing.T) {
	for list, want := range map[string]bool{
		"":                              false,
		"gzip":                          true,
		"br, GZIP":                      true,
		"gzip;q=0":                      false,
		"gzip ; q = 0.000":              false,
		"gzip;q=0.001":                  true,
		"gzip;q=1":                      true,
		"*":                             true,
		"*;q=0":                         false,
		"gzip;q=0, *":                   false,
		"*;q=0, gzip":                   true,
		"identity":                      false,
		"x-gzip, gzipped":               false,
		"br;q=1.0,, gzip;q=0.5":         true,
		"gzip;x=0":                      true,
		"deflate, br;q=0, gzip;q=0.0.1": true,
	} {
		if got := AcceptsCoding([]byte(list), "gzip"); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}
