package proxy

import (
	"errors"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/body"
	"weir/internal/head"
)

// fakeFront is a Front that keeps what the core does with it, and complains about
// what the contract of Front does not allow.
type fakeFront struct {
	t testing.TB
	// on are called by the method of that name, before it does anything. The
	// error becomes that of the method, if it has one.
	on map[string]func() error
	// moves says that Move moves bytes.
	moves bool
	// tunnel is what Tunnel lends.
	tunnel net.Conn

	mu       sync.Mutex
	calls    []string
	informs  []string
	head     string
	status   int
	length   int64
	text     strings.Builder
	trailer  string
	finished bool
	failure  error // what a writing method has returned, and all later ones return
	body     *feed
}

// call notes a call and does what the test wants at that point.
func (f *fakeFront) call(name string) error {
	f.mu.Lock()
	f.calls = append(f.calls, name)
	hook := f.on[name]
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook()
}

// write is call for the methods that write.
func (f *fakeFront) write(name string, wants ...string) error {
	f.mu.Lock()
	for _, w := range wants {
		if !slices.Contains(f.calls, w) {
			f.t.Errorf("%s before %s: %q", name, w, f.calls)
		}
	}
	for _, no := range []string{"finish", "abort", "tunnel"} {
		if slices.Contains(f.calls, no) {
			f.t.Errorf("%s after %s: %q", name, no, f.calls)
		}
	}
	f.mu.Unlock()
	err := f.call(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failure == nil {
		f.failure = err
	}
	return f.failure
}

// trace is the calls in their order.
func (f *fakeFront) trace() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, " ")
}

func (f *fakeFront) did(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.calls, name)
}

// sent is the text of the body.
func (f *fakeFront) sent() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.String()
}

// Inform implements Front.
func (f *fakeFront) Inform(h *head.Head) error {
	if f.did("start") {
		f.t.Error("inform after start")
	}
	if err := f.write("inform"); err != nil {
		return err
	}
	f.informs = append(f.informs, string(h.AppendTo(nil)))
	return nil
}

// Start implements Front.
func (f *fakeFront) Start(h *head.Head, length int64, bodyless bool) error {
	if f.did("start") {
		f.t.Errorf("a second start: %q", f.calls)
	}
	if (h.Status == 204 || h.Status == 304) && !bodyless {
		f.t.Errorf("start of a response %d with a body", h.Status)
	}
	if err := f.write("start"); err != nil {
		return err
	}
	f.head, f.status, f.length = string(h.AppendTo(nil)), h.Status, length
	if bodyless {
		f.length = 0
	}
	return nil
}

// Write implements Front.
func (f *fakeFront) Write(p []byte) error {
	if len(p) == 0 {
		f.t.Error("an empty write")
	}
	if err := f.write("write", "start"); err != nil {
		return err
	}
	f.take(p)
	return nil
}

func (f *fakeFront) take(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text.Write(p)
	if f.length >= 0 && int64(f.text.Len()) > f.length {
		f.t.Errorf("%d bytes of a body of %d", f.text.Len(), f.length)
	}
}

// Move implements Front.
func (f *fakeFront) Move(_ body.Kernel, n int64) (moved int64, srcErr, err error) {
	if !f.moves {
		return 0, nil, errors.ErrUnsupported
	}
	if err := f.write("move", "start"); err != nil {
		return 0, nil, err
	}
	f.take(make([]byte, n))
	return n, nil, nil
}

// Flush implements Front.
func (f *fakeFront) Flush() error { return f.write("flush", "start") }

// Finish implements Front.
func (f *fakeFront) Finish(trailer *head.Head) error {
	if f.length >= 0 && int64(f.text.Len()) != f.length {
		f.t.Errorf("finish after %d bytes of a body of %d", f.text.Len(), f.length)
	}
	if err := f.write("finish", "start"); err != nil {
		return err
	}
	if trailer != nil {
		f.trailer = string(trailer.AppendFields(nil))
	}
	f.finished = true
	return nil
}

// Delivered implements Front.
func (f *fakeFront) Delivered() (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(f.text.Len()), true
}

// Abort implements Front.
func (f *fakeFront) Abort() {
	if f.finished {
		f.t.Errorf("abort after finish: %q", f.calls)
	}
	f.call("abort")
}

// CloseAfter implements Front.
func (f *fakeFront) CloseAfter() {
	if f.did("start") {
		f.t.Errorf("close after start: %q", f.calls)
	}
	f.call("close")
}

// Room implements Front.
func (f *fakeFront) Room() int { return math.MaxInt }

// BePatient implements Front.
func (f *fakeFront) BePatient(time.Duration, bool) { f.call("patient") }

// PauseReading implements Front.
func (f *fakeFront) PauseReading() {
	f.call("pause")
	f.body.pause(true)
}

// ResumeReading implements Front.
func (f *fakeFront) ResumeReading() {
	f.call("resume")
	f.body.pause(false)
}

// Tunnel implements Front.
func (f *fakeFront) Tunnel(h *head.Head) (net.Conn, []byte, error) {
	if err := f.write("tunnel"); err != nil {
		return nil, nil, err
	}
	f.head, f.status = string(h.AppendTo(nil)), h.Status
	return f.tunnel, nil, nil
}
