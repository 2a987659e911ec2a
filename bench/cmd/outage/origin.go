package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// slowness is how long a target in the mode "slow" thinks.
const slowness = 500 * time.Millisecond

// serveOrigin is a target's process. A line on its standard input sets its mode:
// "well", "503" or "slow". On standard output it writes a line for each request
// that it acts upon, before it does, so that not even a SIGKILL hides one.
func serveOrigin(address string) error {
	var mode atomic.Value
	mode.Store("well")
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			mode.Store(lines.Text())
		}
		os.Exit(0) // the process that started this one is gone
	}()
	act := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		m := mode.Load().(string)
		if m == "503" {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path != "/health" {
			id := r.URL.Query().Get("id")
			if r.Method == http.MethodPost {
				id = string(body)
			}
			fmt.Fprintln(os.Stdout, r.Method, id)
			defer fmt.Fprintf(w, "%s", strings.TrimSpace(id))
		}
		if m == "slow" {
			time.Sleep(slowness)
		}
	}
	return (&http.Server{Addr: address, Handler: http.HandlerFunc(act)}).ListenAndServe()
}
