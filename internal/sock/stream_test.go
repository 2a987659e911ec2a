package sock_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"weir/internal/sock"
	"weir/internal/testkit"
)

// pair returns the two ends of a TCP connection, the first as a Stream.
func pair(t *testing.T) (*sock.Stream, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return sock.NewStream(near), far.(*net.TCPConn)
}

// More than one call and more than the socket's buffers take, in two pieces.
func TestStreamWritesAll(t *testing.T) {
	s, far := pair(t)
	first, second := bytes.Repeat([]byte("a"), 300<<10), bytes.Repeat([]byte("b"), 9<<20)
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(far)
		got <- all
	}()
	n, err := s.WriteBoth(first, second)
	if n != len(first)+len(second) || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	s.CloseWrite()
	if all := <-got; !bytes.Equal(all, append(first, second...)) {
		t.Errorf("%d bytes arrived, or others", len(all))
	}
}

func TestStreamReads(t *testing.T) {
	s, far := pair(t)
	far.Write([]byte("hello"))
	var p [16]byte
	if n, err := s.Read(p[:]); string(p[:n]) != "hello" || err != nil {
		t.Errorf("%q, %v", p[:n], err)
	}
	s.SetReadDeadline(time.Unix(1, 0))
	if _, err := s.Read(p[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	s.SetReadDeadline(time.Time{})
	far.CloseWrite()
	if _, err := s.Read(p[:]); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	far.SetLinger(0)
	far.Close()
	s.Write([]byte("x"))
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("a write to a closed connection succeeds")
	}
}

func TestStreamAsks(t *testing.T) {
	s, far := pair(t)
	question := bytes.Repeat([]byte("q"), 6<<20) // more than a socket takes at once
	go func() {
		io.ReadFull(far, make([]byte, len(question)))
		far.Write([]byte("answer"))
	}()
	var p [16]byte
	var n int
	var fault error
	ask := func(question []byte, fresh bool) (sent int, err error) {
		sent, err = s.Ask(question, fresh, func(fd uintptr) bool {
			n, fault = s.ReadNow(fd, p[:])
			return fault != sock.ErrAgain
		})
		return sent, errors.Join(err, fault)
	}
	sent, err := ask(question, true)
	if sent != len(question) || string(p[:n]) != "answer" || err != nil {
		t.Errorf("%d bytes of question, answer %q, %v", sent, p[:n], err)
	}

	// Used again: what no request asked for makes it useless.
	far.Write([]byte("surplus"))
	waiting := sock.NewProbe(s.Conn)
	testkit.Eventually(t, "the bytes are there", func() bool { return waiting.Look() == sock.PendingBytes })
	if sent, err := ask([]byte("q"), false); sent != 0 || !errors.Is(err, sock.ErrNotQuiet) {
		t.Errorf("with surplus bytes: %d sent, %v", sent, err)
	}

	s, far = pair(t)
	far.Close()
	waiting = sock.NewProbe(s.Conn)
	testkit.Eventually(t, "the end is there", func() bool { return waiting.Look() != sock.PendingNothing })
	if sent, err := ask([]byte("q"), false); sent != 0 || !errors.Is(err, sock.ErrNotQuiet) {
		t.Errorf("closed: %d sent, %v", sent, err)
	}
	// A peer that answers before it is asked, and keeps its side open: nothing more will come
	// that could wake the reader.
	s, far = pair(t)
	far.Write([]byte("early"))
	waiting = sock.NewProbe(s.Conn)
	testkit.Eventually(t, "the early answer is there", func() bool { return waiting.Look() == sock.PendingBytes })
	s.SetReadDeadline(time.Now().Add(time.Minute))
	if sent, err := ask([]byte("q"), true); sent != 1 || string(p[:n]) != "early" || err != nil {
		t.Errorf("early answer: %d sent, answer %q, %v", sent, p[:n], err)
	}
	s, far = pair(t)
	go func() {
		io.ReadFull(far, make([]byte, 1))
		s.SetReadDeadline(time.Unix(1, 0)) // once the question has come: a deadline that passes before prevents it
	}()
	if sent, err := ask([]byte("q"), false); sent != 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silent: %d sent, %v", sent, err)
	}
}

// A deadline is never earlier than asked for, and hardly ever set.
func TestRearm(t *testing.T) {
	now := time.Unix(1000, 0)
	check := func(name string, armed time.Time, limit, at time.Duration, set bool) {
		t.Helper()
		d, got := sock.Rearm(armed, now, limit)
		if got != set || at != 0 && !d.Equal(now.Add(at)) || at == 0 && !d.IsZero() {
			t.Errorf("%s: %v, %t", name, d.Sub(now), got)
		}
	}
	check("none is set", time.Time{}, 80*time.Second, 81*time.Second, true)
	check("small limits have small slack", time.Time{}, 800*time.Millisecond, 900*time.Millisecond, true)
	check("late by less than the slack", now.Add(80500*time.Millisecond), 80*time.Second, 80500*time.Millisecond, false)
	check("too early", now.Add(79*time.Second), 80*time.Second, 81*time.Second, true)
	check("too late", now.Add(90*time.Second), 80*time.Second, 81*time.Second, true)
	check("no bound, none set", time.Time{}, 0, 0, false)
	check("no bound, one set", now, 0, 0, true)
}
