package sock_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"weir/internal/sock"
)

// owner is a connection that reads messages of one line.
type owner struct {
	*sock.Stream
	first  sock.FirstRead
	reader *bufio.Reader
	// serve is called for each message inside Await.
	serve func(line string) bool
}

var lines = sock.NewBuffers(64)

func newOwner(t *testing.T) (*owner, net.Conn) {
	t.Helper()
	o, peer := &owner{}, net.Conn(nil)
	o.Stream, peer = pair(t)
	o.first.Init(o.Stream, o, &o.reader, lines)
	o.first.Served = func() bool {
		line, err := o.reader.Peek(o.reader.Buffered())
		if err != nil || !o.serve(string(line)) {
			return false
		}
		o.reader.Discard(len(line))
		lines.Put(o.reader)
		o.reader = nil
		return true
	}
	return o, peer
}

// Read implements io.Reader.
func (o *owner) Read(p []byte) (int, error) {
	if o.first.Active() {
		return o.first.Read(p)
	}
	return o.Stream.Read(p)
}

// What comes while a message is served inside Await begins the next one, and Await returns with the first
// that is not served.
func TestServedInsideAwait(t *testing.T) {
	o, peer := newOwner(t)
	var got []string
	o.serve = func(line string) bool {
		got = append(got, line)
		switch len(got) {
		case 1, 2:
			send(t, peer, "next\n")
			return true
		case 3:
			time.AfterFunc(10*time.Millisecond, func() { io.WriteString(peer, "last\n") })
			return true
		}
		return false
	}
	send(t, peer, "first\n")
	o.SetReadDeadline(time.Now().Add(time.Minute))
	if err := o.first.Await(); err != nil {
		t.Fatal(err)
	}
	line, err := o.reader.ReadString('\n')
	if err != nil || line != "last\n" || len(got) != 4 || got[3] != line {
		t.Errorf("got %q, then %q, %v", got, line, err)
	}
}

// An end that comes while a message is served ends Await, and so does a deadline.
func TestAwaitEndsAfterServed(t *testing.T) {
	o, peer := newOwner(t)
	o.serve = func(string) bool {
		o.SetReadDeadline(sock.LongAgo)
		return true
	}
	send(t, peer, "first\n")
	if err := o.first.Await(); !sock.TimedOut(err) || o.reader != nil {
		t.Errorf("got %v and a reader: %t; want a time-out and none", err, o.reader != nil)
	}
	o.SetReadDeadline(time.Now().Add(time.Minute))
	o.serve = func(string) bool {
		peer.Close()
		return true
	}
	send(t, peer, "second\n")
	if err := o.first.Await(); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}
