package main_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// A reload that changes the cache's settings while its folder is in use says what to do; the
// cache goes on as it is. Another folder is taken.
func TestReloadOfCacheSettings(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, time.Now().UnixNano())
	}))
	defer origin.Close()
	text := func(size, folder string) string {
		return fmt.Sprintf("[[listeners]]\naddress = \"127.0.0.1:0\"\n[[routes]]\nupstream = \"o\"\ncache = true\n[upstreams.o]\ntargets = [%q]\n"+
			"[access_log]\noutput = \"off\"\n[cache]\nsize = %q\n[cache.persist]\nfolder = %q\n", origin.URL, size, folder)
	}
	one, two := t.TempDir(), t.TempDir()
	path := file(t, text("8MiB", one))
	c := start(t, "run", "--config", path)
	_, stored := c.get("/")
	write(t, path, text("9MiB", one))
	c.signal(syscall.SIGHUP)
	c.logged("want a restart to change them, or another folder")
	if _, got := c.get("/"); got != stored {
		t.Errorf("after the refused reload the answer is %q, want the stored one, %q", got, stored)
	}
	write(t, path, text("9MiB", two))
	c.signal(syscall.SIGHUP)
	c.logged("msg=reloaded")
	if _, got := c.get("/"); got == stored {
		t.Error("the cache of the new folder has what is in the old one")
	}
	c.signal(syscall.SIGTERM)
	c.ends(0)
}
