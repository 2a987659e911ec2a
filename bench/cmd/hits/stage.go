package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"weir/bench"
)

// stage is an origin and a weir in front of it.
type stage struct {
	scenario     *scenario
	path, folder string // of the program, and for files
	address      string // of weir
	origin       *httptest.Server
	weir         *exec.Cmd
	client       http.Client

	mu    sync.Mutex
	seen  tally
	fault error // the first of a client's
}

func newStage(sc *scenario, path, folder string) *stage {
	s := &stage{scenario: sc, path: path, folder: folder}
	s.origin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen.origin++
		s.mu.Unlock()
		sc.origin(w, r)
	}))
	s.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	return s
}

// start starts weir and waits until it takes connections.
func (s *stage) start() error {
	free, err := bench.FreeAddresses(1)
	if err != nil {
		return err
	}
	s.address = free[0]
	config := fmt.Sprintf("[[listeners]]\naddress = %q\n[[routes]]\nupstream = \"o\"\ncache = true\n[upstreams.o]\ntargets = [%q]\n%s",
		s.address, s.origin.URL, strings.ReplaceAll(s.scenario.config, "FOLDER", filepath.Join(s.folder, "cache")))
	if err := os.MkdirAll(filepath.Join(s.folder, "cache"), 0o700); err != nil {
		return err
	}
	file := filepath.Join(s.folder, "weir.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	var log bytes.Buffer
	s.weir = exec.Command(s.path, "run", "--config", file)
	s.weir.Stdout, s.weir.Stderr = io.Discard, &log
	if err := s.weir.Start(); err != nil {
		return err
	}
	for range 500 {
		if c, err := net.Dial("tcp", s.address); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.stop()
	return fmt.Errorf("weir does not listen: %s", log.String())
}

// stop ends weir.
func (s *stage) stop() {
	if s.weir == nil {
		return
	}
	s.weir.Process.Signal(syscall.SIGTERM)
	s.weir.Wait()
	s.weir = nil
}

// restart ends weir and starts it again, with nothing in memory.
func (s *stage) restart() error {
	s.client.CloseIdleConnections()
	s.stop()
	return s.start()
}

func (s *stage) close() {
	s.client.CloseIdleConnections()
	s.stop()
	s.origin.Close()
}

// reset forgets the requests so far: they were to prepare the scenario.
func (s *stage) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = tally{}
}

// result is what the requests came to.
func (s *stage) result() (tally, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen, s.fault
}

// get sends a request with these fields, names and values in turn, and reads the answer.
func (s *stage) get(path string, fields ...string) {
	begin := time.Now()
	err := s.fetch(path, fields)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.requests++
	s.seen.slowest = max(s.seen.slowest, time.Since(begin))
	s.fault = errors.Join(s.fault, err)
}

func (s *stage) fetch(path string, fields []string) error {
	request, err := http.NewRequest(http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		return err
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Set(fields[i], fields[i+1])
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return fmt.Errorf("status %s", response.Status)
	}
	return nil
}

// leave sends a request and resets the connection after that time. It waits as long again, so
// that weir has noticed.
func (s *stage) leave(path string, after time.Duration) error {
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, s.address)
	time.Sleep(after)
	s.mu.Lock()
	s.seen.requests++
	s.mu.Unlock()
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	time.Sleep(3 * after)
	return nil
}

// zeros is a body of that many bytes.
func zeros(size int) io.ReadSeeker { return bytes.NewReader(make([]byte, size)) }
