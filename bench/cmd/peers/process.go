package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that this command started, in a process group of its own.
type process struct {
	name   string
	cmd    *exec.Cmd
	output *tail
	done   chan struct{} // closed when it has ended
}

// tail keeps the last bytes that a process printed.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > keep {
		t.buf = bytes.Clone(t.buf[len(t.buf)-keep:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}

// startProcess starts argv in dir with env added, and waits until address
// accepts connections.
func startProcess(ctx context.Context, name, dir, address string, argv, env []string) (*process, error) {
	p := &process{name: name, output: &tail{}, done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is not asked; that it ended is
		close(p.done)
	}()
	if err := p.ready(ctx, address); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// ready waits until the process accepts connections.
func (p *process) ready(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("cannot start %q: it ended: %s", p.name, p.output)
		case <-ctx.Done():
			return fmt.Errorf("cannot start %q: nothing accepts connections on %s: %s", p.name, address, p.output)
		case <-retry.C:
		}
	}
}

// ended says whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and whatever is left of its group, and waits.
func (p *process) stop() {
	if !p.ended() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // gone already is as well
		select {
		case <-p.done:
		case <-time.After(2 * time.Second):
		}
	}
	// The group is ours alone (Setpgid) and outlives a leader that left
	// children behind; when none is left, there is nothing to kill.
	if err := syscall.Kill(-p.pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		fmt.Fprintf(os.Stderr, "peers: cannot kill the process group of %q: %v\n", p.name, err)
	}
	<-p.done
}

// freeAddress is a loopback address on which no process listens. It is not at 127.0.0.1, where others might take the port
// before the process opens it for which the address is.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 64+rand.N(128), rand.N(256), 1+rand.N(254)))
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
