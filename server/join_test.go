package server_test

import (
	"errors"
	"net/http"
	"testing"

	"weir/server"
)

// TestEndWhileJoining: a server can be ended while it learns what the process before it has changed. A reload waits.
func TestEndWhileJoining(t *testing.T) {
	t.Parallel()
	const text = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[metrics]\naddress = \"127.0.0.1:0\"\n[[routes]]\nrespond = {status = 204}\n"
	check := func(name string, want error, meanwhile func(s *server.Server, joined chan<- struct{}) error) {
		t.Run(name, func(t *testing.T) {
			joining, joined := make(chan struct{}), make(chan struct{})
			s, err := server.New(parse(t, text), server.WithPredecessor(&server.Predecessor{Join: func(*server.Server) {
				close(joining)
				<-joined
			}}))
			if err != nil {
				t.Fatal(err)
			}
			started := make(chan error, 1)
			go func() { started <- s.Start() }()
			<-joining
			if err := meanwhile(s, joined); err != nil {
				t.Error(err)
			}
			if err := <-started; !errors.Is(err, want) {
				t.Errorf("Start returns %v, want %v", err, want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	before := func(f func(s *server.Server) error) func(*server.Server, chan<- struct{}) error {
		return func(s *server.Server, joined chan<- struct{}) error {
			defer close(joined)
			return f(s)
		}
	}
	check("close", http.ErrServerClosed, before((*server.Server).Close))
	check("shutdown", http.ErrServerClosed, before(func(s *server.Server) error { return s.Shutdown(t.Context()) }))
	check("handover", http.ErrServerClosed, before((*server.Server).HandOver))
	check("reload", nil, func(s *server.Server, joined chan<- struct{}) error {
		reloaded := make(chan error, 1)
		go func() { reloaded <- s.Reload(parse(t, text)) }()
		select {
		case <-reloaded:
			t.Error("a reload does not wait for the start")
		case <-after(50): // it waits, or has not begun
		}
		close(joined)
		return <-reloaded
	})
}
