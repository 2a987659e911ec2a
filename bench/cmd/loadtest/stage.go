package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/bench/origin"
)

// serveInstance is an instance: it prints its address, and how many requests it has answered for
// each line that it reads. It ends when there is nothing more to read.
func serveInstance(delay time.Duration, r io.Reader, w io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := origin.New()
	s.Delay = delay
	s.Serve(ln)
	defer s.Close()
	if _, err := fmt.Fprintln(w, ln.Addr()); err != nil {
		return err
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if _, err := fmt.Fprintln(w, s.Requests()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// stage is a weir and what is behind it.
type stage struct {
	folder    string // for its file
	instances []*instance
	weir      *exec.Cmd
	address   string // of weir
}

type instance struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

var listening = regexp.MustCompile(`msg=listening .* address=(\S+)`)

// newStage starts all. close ends it.
func newStage(s settings, cache bool) (st *stage, err error) {
	st = new(stage)
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return st, err
	}
	var targets []string
	for range s.instances {
		in := &instance{cmd: exec.Command(self, "instance", "-delay", s.delay.String())}
		address, err := in.start()
		if err != nil {
			return st, fmt.Errorf("cannot start an instance: %w", err)
		}
		st.instances = append(st.instances, in)
		targets = append(targets, strconv.Quote("http://"+address))
	}
	if st.folder, err = os.MkdirTemp("", "load-test"); err != nil {
		return st, err
	}
	file := filepath.Join(st.folder, "weir.toml")
	text := fmt.Sprintf("access_log.output = \"off\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[[routes]]\nupstream = \"app\"\ncache = %v\n[upstreams.app]\ntargets = [%s]\n",
		cache, strings.Join(targets, ", "))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return st, err
	}
	return st, st.startWeir(s.weir, file)
}

func (in *instance) start() (address string, err error) {
	// It ends with its standard input, also when this process is killed.
	if in.stdin, err = in.cmd.StdinPipe(); err != nil {
		return "", err
	}
	stdout, err := in.cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	in.cmd.Stderr = os.Stderr
	// Ctrl-C is for this process, which still asks for figures.
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := in.cmd.Start(); err != nil {
		return "", err
	}
	in.stdout = bufio.NewReader(stdout)
	return in.line()
}

func (in *instance) line() (string, error) {
	line, err := in.stdout.ReadString('\n')
	return strings.TrimSpace(line), err
}

// startWeir starts weir and waits until it listens.
func (st *stage) startWeir(program, file string) error {
	st.weir = exec.Command(program, "run", "--config", file)
	st.weir.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := st.weir.StderrPipe()
	if err != nil {
		return err
	}
	if err := st.weir.Start(); err != nil {
		st.weir = nil
		return fmt.Errorf("cannot start weir: %w", err)
	}
	var seen strings.Builder
	for lines := bufio.NewReader(stderr); ; {
		line, err := lines.ReadString('\n')
		seen.WriteString(line)
		if at := listening.FindStringSubmatch(line); at != nil {
			st.address = at[1]
			go io.Copy(io.Discard, lines) // ends with the process
			return nil
		}
		if err != nil {
			return fmt.Errorf("weir does not listen:\n%s", seen.String())
		}
	}
}

// asked is how many requests have reached the instances.
func (st *stage) asked() (n int64, err error) {
	for _, in := range st.instances {
		if _, err := io.WriteString(in.stdin, "?\n"); err != nil {
			return 0, err
		}
		line, err := in.line()
		if err != nil {
			return 0, err
		}
		m, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			return 0, err
		}
		n += m
	}
	return n, nil
}

func (st *stage) close() {
	if st.weir != nil {
		if err := st.weir.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			fmt.Fprintln(os.Stderr, "loadtest: cannot end weir:", err)
		}
		_ = st.weir.Wait() // "signal: killed" is what was asked for
	}
	for _, in := range st.instances {
		_ = in.stdin.Close() // it ends by this
		_ = in.cmd.Wait()    // how is not asked
	}
	if st.folder != "" {
		_ = os.RemoveAll(st.folder) // in the folder for temporary files
	}
}
