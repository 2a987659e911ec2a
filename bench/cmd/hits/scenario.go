package main

import (
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// scenario is something that clients do, in front of an origin of its own.
type scenario struct {
	name, about string
	origin      http.HandlerFunc
	// config is what the scenario adds to weir's configuration; FOLDER is an empty folder.
	config string
	// play is what the clients do. Requests that prepare the scenario come before reset.
	play func(s *stage) error
}

// tally is what a scenario came to.
type tally struct {
	requests, origin int
	slowest          time.Duration
}

// scenarios are all there are.
var scenarios = []scenario{
	{
		name: "burst", about: "40 clients at once, three times, max-age=1, origin of 1.5 s",
		origin: func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(1500 * time.Millisecond)
			w.Header().Set("Cache-Control", "max-age=1")
			fmt.Fprint(w, "hello")
		},
		play: func(s *stage) error {
			for range 3 {
				s.together(40, "/")
				time.Sleep(1100 * time.Millisecond)
			}
			return nil
		},
	},
	{
		name: "returning", about: "25 visitors with If-None-Match after a restart",
		origin: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("ETag", `"p1"`)
			if r.Header.Get("If-None-Match") == `"p1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			fmt.Fprint(w, "page")
		},
		play: func(s *stage) error {
			s.get("/")
			if err := s.restart(); err != nil {
				return err
			}
			s.reset()
			for range 5 {
				s.get("/", "If-None-Match", `"p1"`)
			}
			s.together(20, "/", "If-None-Match", `"p1"`)
			return nil
		},
	},
	{
		name: "video", about: "Range: bytes=0- of 12 MiB, 4 players one by one and 10 at once",
		config: "[cache.persist]\nfolder = \"FOLDER\"\n",
		origin: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, r, "v.mp4", time.Time{}, zeros(12<<20))
		},
		play: func(s *stage) error {
			for range 4 {
				s.get("/one", "Range", "bytes=0-")
			}
			s.together(10, "/two", "Range", "bytes=0-")
			return nil
		},
	},
	{
		name: "cookies", about: "30 visitors with cookies of their own, Vary: Cookie, the route removes cookies",
		config: "[routes.request_headers]\nremove = [\"Cookie\"]\n",
		origin: varied("Cookie"),
		play: func(s *stage) error {
			for i := range 30 {
				s.get("/", "Cookie", fmt.Sprintf("session=%d", i))
			}
			return nil
		},
	},
	{
		name: "encodings", about: "nine spellings of Accept-Encoding, Vary: Accept-Encoding",
		origin: varied("Accept-Encoding"),
		play: func(s *stage) error {
			for _, spelling := range []string{
				"gzip, deflate, br, zstd", "gzip, deflate, br", "gzip, deflate", "gzip,deflate", "gzip;q=1.0, deflate;q=0.6", "gzip", "GZIP", "br, gzip", "deflate, gzip;q=1.0, *;q=0.5",
			} {
				s.get("/", "Accept-Encoding", spelling)
			}
			return nil
		},
	},
	{
		name: "left", about: "4 clients that leave after 1 s, origin of 3 s, and one that stays",
		origin: func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(3 * time.Second)
			w.Header().Set("Cache-Control", "max-age=600")
			fmt.Fprint(w, "hello")
		},
		play: func(s *stage) error {
			for range 4 {
				if err := s.leave("/", time.Second); err != nil {
					return err
				}
			}
			s.get("/")
			return nil
		},
	},
}

// varied is an origin whose answers depend on one field of the request.
func varied(field string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.Header().Set("Vary", field)
		fmt.Fprintf(w, "for %q", r.Header.Get(field))
	}
}

// measure plays the scenario against the weir at path.
func (sc *scenario) measure(path string) (tally, error) {
	folder, err := os.MkdirTemp("", "weir-hits-")
	if err != nil {
		return tally{}, err
	}
	defer os.RemoveAll(folder)
	s := newStage(sc, path, folder)
	defer s.close()
	if err := s.start(); err != nil {
		return tally{}, err
	}
	if err := sc.play(s); err != nil {
		return tally{}, err
	}
	return s.result()
}

// together sends n requests at once.
func (s *stage) together(n int, path string, fields ...string) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() { s.get(path, fields...) })
	}
	all.Wait()
}
