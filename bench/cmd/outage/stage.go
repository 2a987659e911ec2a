package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"weir/bench"
)

// stage is three targets and a proxy in front of them.
type stage struct {
	setup            setup
	self, weir, file string
	listen, metrics  string
	targets          [3]*target
	proxy            *exec.Cmd
	log              io.Writer

	mu sync.Mutex
	// processes are all that were started, ended ones too.
	processes []*os.Process
	// acted counts how often a target acted upon each request, by its line.
	acted map[string]int
}

// target is one target, in whatever state it is.
type target struct {
	stage   *stage
	address string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	read    chan struct{} // closed when all it said was read
}

func newStage(up setup, dir, weir string, verbose bool) *stage {
	s := &stage{setup: up, weir: weir, file: filepath.Join(dir, up.name), acted: make(map[string]int), log: io.Discard}
	if verbose {
		s.log = os.Stderr
	}
	return s
}

// open starts all; close ends them, also after an error.
func (s *stage) open() (err error) {
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	addresses, err := bench.FreeAddresses(5)
	if err != nil {
		return err
	}
	s.listen, s.metrics = addresses[0], addresses[1]
	for i := range s.targets {
		s.targets[i] = &target{stage: s, address: addresses[2+i]}
		if err := s.targets[i].start(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.file, []byte(s.setup.text), 0o600); err != nil {
		return err
	}
	s.proxy = exec.Command(s.weir, "run", "--config", s.file)
	if s.setup.haproxy {
		s.proxy = exec.Command("haproxy", "-db", "-f", s.file)
	}
	s.proxy.Stderr, s.proxy.Stdout = s.log, s.log
	s.proxy.Env = append(os.Environ(), "LISTEN="+s.listen, "METRICS="+s.metrics)
	for i, t := range s.targets {
		s.proxy.Env = append(s.proxy.Env, fmt.Sprintf("TARGET_%d=http://%s", i+1, t.address), fmt.Sprintf("ADDRESS_%d=%s", i+1, t.address))
	}
	if err := s.start(s.proxy); err != nil {
		return err
	}
	return answers(s.listen)
}

// start starts a command whose process ends with the stage.
func (s *stage) start(cmd *exec.Cmd) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd.Process)
	return nil
}

// abort ends all processes at once, whatever is being played, and lets no
// further one start.
func (s *stage) abort() {
	s.mu.Lock() // for good
	for _, p := range s.processes {
		_ = p.Kill() // most have ended already
	}
}

// answers waits until something accepts at address.
func answers(address string) error {
	for range 500 {
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("no server answers at %q", address)
}

func (s *stage) close() {
	for _, t := range s.targets {
		if t != nil && t.read != nil {
			t.kill()
		}
	}
	if s.proxy != nil && s.proxy.Process != nil {
		s.proxy.Process.Kill()
		s.proxy.Wait()
	}
}

// reload makes weir read its file again, with another number of attempts each
// time, so that there is a change, if the file says a number.
func (s *stage) reload() error {
	if !s.setup.reloads() {
		return nil
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return err
	}
	from, to := "attempts = 3", "attempts = 4"
	if strings.Contains(string(text), to) {
		from, to = to, from
	}
	if err := os.WriteFile(s.file, []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		return err
	}
	return s.proxy.Process.Signal(syscall.SIGHUP)
}

// attempts reads from weir's metrics how many attempts it has made; 0 without metrics.
func (s *stage) attempts() (n int, err error) {
	if !s.setup.counts() {
		return 0, nil
	}
	r, err := http.Get("http://" + s.metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if strings.HasPrefix(name, "weir_upstream_attempts_total{") {
			v, err := strconv.Atoi(value)
			if err != nil {
				return 0, err
			}
			n += v
		}
	}
	return n, lines.Err()
}

func (t *target) start() error {
	t.cmd = exec.Command(t.stage.self, "origin", t.address)
	t.cmd.Stderr = os.Stderr
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if t.stdin, err = t.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := t.stage.start(t.cmd); err != nil {
		return err
	}
	t.read = make(chan struct{})
	go func() {
		defer close(t.read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			t.stage.mu.Lock()
			t.stage.acted[lines.Text()]++
			t.stage.mu.Unlock()
		}
	}()
	return answers(t.address)
}

// kill ends the target by SIGKILL.
func (t *target) kill() error {
	if t.cmd == nil {
		return nil
	}
	err := t.cmd.Process.Kill()
	<-t.read
	t.cmd.Wait() // "signal: killed" is what was asked for
	t.cmd = nil
	return err
}

func (t *target) signal(sig syscall.Signal) error { return t.cmd.Process.Signal(sig) }

func (t *target) mode(name string) error {
	_, err := io.WriteString(t.stdin, name+"\n")
	return err
}
