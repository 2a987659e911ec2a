package discovertest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"time"
)

// OwnAddress returns an address of the loopback interface that no other server is likely to have, with port 0. A
// server that stops finds its port free when it starts again: connections of others begin at 127.0.0.1, and may have its
// number there.
func OwnAddress() string {
	return fmt.Sprintf("127.%d.%d.%d:0", 64+rand.N(128), rand.N(256), 1+rand.N(254))
}

// FreeAddress returns an address of the loopback interface that nothing listens at.
func FreeAddress() (string, error) {
	ln, err := net.Listen("tcp", OwnAddress())
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// Process is a server of its own, which can be killed and started again.
type Process struct {
	// Make returns the command; it is called for each start.
	Make func() *exec.Cmd
	// Ready says whether the server answers.
	Ready func() error

	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{}
}

// Start starts it and waits until it is ready.
func (p *Process) Start() error {
	p.output.Reset()
	p.cmd = p.Make()
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	for end := time.Now().Add(longest); ; {
		err := p.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s has ended:\n%s", p.cmd.Path, p.output.String())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return errors.Join(err, p.Stop())
		}
	}
}

// Stop kills it.
func (p *Process) Stop() error {
	if p.cmd == nil {
		return nil
	}
	p.cmd.Process.Kill()
	<-p.ended
	return nil
}
