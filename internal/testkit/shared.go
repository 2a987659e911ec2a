package testkit

import (
	"os"
	"sync"
	"testing"
)

// Shared is something that the tests of a package share, such as a server. The first test that wants it makes it.
type Shared[T interface{ Close() }] struct {
	mu    sync.Mutex
	value T
	made  bool
}

// Get returns what is shared. make makes it; a test whose make fails leaves that to the next one.
func (s *Shared[T]) Get(t *testing.T, make func(t *testing.T) T) T {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.made {
		s.value = make(t)
		s.made = true
	}
	return s.value
}

// Main runs the tests, for TestMain, closes what they have shared, and exits.
func (s *Shared[T]) Main(m *testing.M) {
	code := m.Run()
	if s.made {
		s.value.Close()
	}
	os.Exit(code)
}

// Must fails the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
