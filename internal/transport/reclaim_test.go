package transport

import (
	"net"
	"strings"
	"syscall"
	"testing"
)

// A dial without a descriptor is tried again as long as there is something to close, and once
// more after that, because another goroutine may have closed it.
func TestDialReclaiming(t *testing.T) {
	t.Parallel()
	check := func(what, dials, reclaims, want string) {
		t.Helper()
		got := ""
		next := func(list *string) byte {
			if *list == "" {
				return '-'
			}
			b := (*list)[0]
			*list = (*list)[1:]
			got += string(b)
			return b
		}
		dial := func() (*Conn, error) {
			switch next(&dials) {
			case 'o':
				return nil, nil
			case 'r':
				return nil, syscall.ECONNREFUSED
			}
			return nil, &net.OpError{Op: "dial", Err: syscall.EMFILE}
		}
		_, err := dialReclaiming(func() bool { return next(&reclaims) == 'Y' }, dial)
		if got != want || (err == nil) != strings.HasSuffix(want, "o") {
			t.Errorf("%s: %q, %v; want %q", what, got, err, want)
		}
	}
	check("a descriptor is left", "o", "", "o")
	check("another failure", "r", "", "r")
	check("room was made", "mo", "Y", "mYo")
	check("room was made and taken by another", "mmo", "YY", "mYmYo")
	check("another goroutine made room", "mo", "N", "mNo")
	check("there is none", "mm", "N", "mNm")
	check("another failure meanwhile", "mr", "Y", "mYr")
	check("others take it each time", "mmmmmmmm", "YYYYYYY", "mYmYmYmYmYmYmYm")
	if _, err := dialReclaiming(nil, func() (*Conn, error) { return nil, syscall.EMFILE }); err == nil {
		t.Error("no error without reclaim")
	}
}
