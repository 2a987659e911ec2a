// Package handover is how a running weir and the process that replaces it speak with each
// other: over a pair of sockets that the new process inherits, in messages that may bring a
// descriptor. It knows nothing of what the messages are for. Only internal/cli uses it.
//
// A message is its length, as 4 bytes in big-endian order, and JSON; a byte that carries the
// descriptor follows it if there is one. The two processes may be of different versions: a
// field that one does not know is left alone.
package handover

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxMessage bounds the bytes of a message, and maxWaiting those of the changes that wait to be sent, which
// a process that is stopped makes many.
const (
	maxMessage = 64 << 20
	maxWaiting = 16 << 20
)

// variable is the environment variable that holds the id of the process that is replaced. The
// descriptor of the new process's end is firstExtra.
const (
	variable   = "WEIR_UPGRADE_FROM"
	firstExtra = 3
)

// Kind says what a message is about.
type Kind string

// The kinds of messages.
const (
	// Socket brings a listening socket; Name is what it is used for.
	Socket Kind = "socket"
	// PIDFile brings the pid file, locked; Name is its path.
	PIDFile Kind = "pid_file"
	// Memory brings, in Data, what the old process knows, and ends what the new one needs.
	Memory Kind = "memory"
	// Ready says that the new process can serve; with Confirms, that it answers Main by Took.
	Ready Kind = "ready"
	// Main says that the new process is to be the one that counts. Name is what it puts
	// before its verdict on the upgrade. Took says that it is: before, it may have been told to end.
	Main Kind = "main"
	Took Kind = "took"
	// Joining says that the new process is about to accept clients. Joined answers it, after all Changed
	// that the old process sent without waiting for their Learned.
	Joining Kind = "joining"
	Joined  Kind = "joined"
	// Changed brings, in Data, what a process has changed that the other is to change as well. Both
	// processes send it. Learned answers it; Conn counts both.
	Changed Kind = "ended" // the word of the first version
	Learned Kind = "learned"
	// Released says that the old process has given back what only one can have.
	Released Kind = "released"
	// Failed says, in Text, why the new process ends.
	Failed Kind = "failed"
)

// Message is one message.
type Message struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name,omitempty"`
	Text string `json:"text,omitempty"`
	Data []byte `json:"data,omitempty"`
	// Carries says that a descriptor follows; Send sets it. File is that descriptor, at the
	// receiver, who closes it.
	Carries bool     `json:"carries,omitempty"`
	File    *os.File `json:"-"`
	// Confirms says that the sender answers: each Changed by Learned, or what its Kind says.
	Confirms bool `json:"confirms,omitempty"`
}

// Conn is one end. Its methods may be called from any goroutine, but Receive from one at a time.
type Conn struct {
	// Lost is called when the other process takes messages again after changes were left out because too many
	// waited. What it returns is told in their place. nil means nothing. It is set before the first Tell.
	Lost func() []byte

	conn *net.UnixConn
	mu   sync.Mutex // of Send

	posts  sync.Mutex
	posted []Message
	// waiting are the bytes of the changes that were posted and not sent; lost says that others were left out.
	waiting int
	lost    bool
	// posting is closed when all that was posted has been sent; nil while nothing is.
	posting chan struct{}

	// changes is about the Changed that this end has sent.
	changes struct {
		sync.Mutex
		told, learned int
		confirmed     bool          // the other process confirms, and has not ended
		silent        bool          // the other process has confirmed nothing in the time of an Await, nor since
		progress      chan struct{} // closed when learned or confirmed differs; nil while no Await waits
	}
}

// Pair returns an end, and the descriptor of the other for a child process.
func Pair() (*Conn, *os.File, error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pair of sockets: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "upgrade")
	c, err := newConn(os.NewFile(uintptr(fds[0]), "upgrade"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// newConn makes an end of f, which it closes.
func newConn(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("cannot speak with the other process: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("cannot speak with the other process: descriptor 3 is no unix socket")
	}
	return &Conn{conn: u}, nil
}

// Environment returns the environment env for a child process that gets the other end as its
// first extra descriptor, from process pid. What it says about pid itself is left out.
func Environment(env []string, pid int) []string {
	var kept []string
	for _, entry := range env {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case variable, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID":
		default:
			kept = append(kept, entry)
		}
	}
	return append(kept, variable+"="+strconv.Itoa(pid))
}

// Inherit returns this process's end, or nil if it replaces none. Call it once, before
// anything starts another process.
func Inherit() (*Conn, error) {
	from := os.Getenv(variable)
	os.Unsetenv(variable)
	if from == "" || from != strconv.Itoa(os.Getppid()) {
		return nil, nil
	}
	unix.CloseOnExec(firstExtra)
	return newConn(os.NewFile(firstExtra, "upgrade"))
}

// Send sends m, and a copy of the descriptor of file unless that is nil.
func (c *Conn) Send(m Message, file syscall.Conn) error {
	m.Carries = file != nil
	body, err := json.Marshal(m)
	if err != nil {
		panic("BUG: cannot encode a message: " + err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return fmt.Errorf("cannot tell the other process: %w", err)
	}
	if file == nil {
		return nil
	}
	raw, err := file.SyscallConn()
	if err == nil {
		var sent error
		err = raw.Control(func(fd uintptr) {
			_, _, sent = c.conn.WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil)
		})
		err = errors.Join(err, sent)
	}
	if err != nil {
		c.conn.Close() // the other process waits for a descriptor that does not come
		return fmt.Errorf("cannot pass %q to the other process: %w", m.Name, err)
	}
	return nil
}

// Post sends m a moment later, after all that was posted before, and does not block. What
// cannot be sent is lost: the other process has ended.
func (c *Conn) Post(m Message) {
	c.posts.Lock()
	defer c.posts.Unlock()
	c.addPost(m)
}

// addPost is Post. posts must be held.
func (c *Conn) addPost(m Message) {
	c.posted = append(c.posted, m)
	c.waiting += len(m.Data)
	if c.posting == nil {
		c.posting = make(chan struct{})
		go c.post()
	}
}

// post sends what was posted.
func (c *Conn) post() {
	for {
		c.posts.Lock()
		list := c.posted
		c.posted = nil
		lost := c.lost && len(list) == 0
		if len(list) == 0 && !lost {
			close(c.posting)
			c.posting = nil
			c.posts.Unlock()
			return
		}
		c.posts.Unlock()
		if lost {
			c.tellLost()
			continue
		}
		for _, m := range list {
			_ = c.Send(m, nil) // fails if the other process has ended
			c.posts.Lock()
			c.waiting -= len(m.Data)
			c.posts.Unlock()
		}
	}
}

// Tell posts a Changed with data. While too many wait it leaves that out, and what Lost returns is told in its
// place; until then Await fails.
func (c *Conn) Tell(data []byte) {
	c.changes.Lock()
	defer c.changes.Unlock() // after posting, so that no Await counts what is not posted
	c.posts.Lock()
	defer c.posts.Unlock()
	if c.lost = c.lost || c.waiting+len(data) > maxWaiting; c.lost {
		return
	}
	c.changes.told++
	c.addPost(Message{Kind: Changed, Data: data})
}

// tellLost tells what Lost returns.
func (c *Conn) tellLost() {
	c.changes.Lock()
	c.posts.Lock()
	c.lost = false // before Lost is called: what is changed from now on is told again
	if c.Lost != nil {
		c.changes.told++
	}
	c.posts.Unlock()
	c.changes.Unlock()
	if c.Lost != nil {
		c.Post(Message{Kind: Changed, Data: c.Lost()})
	}
}

// hasLost says that changes were left out of which the other process was told nothing yet.
func (c *Conn) hasLost() bool {
	c.posts.Lock()
	defer c.posts.Unlock()
	return c.lost
}

// Confirm posts a Learned, for a Changed that was received.
func (c *Conn) Confirm() { c.Post(Message{Kind: Learned}) }

// errSilent is the error of an Await that expects nothing.
var errSilent = errors.New("the other process has not answered for long")

// Await waits until the other process has learned what Tell was called with before, or has ended, and
// returns nil then; else ctx's error. It does not wait for a process that confirms nothing. Of one that has
// confirmed nothing until the deadline of an Await, as one that is stopped, nothing is expected any more
// before it confirms something: that is an error at once. Receive must run meanwhile.
func (c *Conn) Await(ctx context.Context) error {
	c.changes.Lock()
	defer c.changes.Unlock()
	if c.changes.confirmed && c.hasLost() {
		return errSilent
	}
	before := c.changes.learned
	for told := c.changes.told; c.changes.confirmed && c.changes.learned < told; {
		if c.changes.silent {
			return errSilent
		}
		if c.changes.progress == nil {
			c.changes.progress = make(chan struct{})
		}
		progress := c.changes.progress
		c.changes.Unlock()
		select {
		case <-progress:
			c.changes.Lock()
		case <-ctx.Done():
			c.changes.Lock()
			c.changes.silent = c.changes.silent || c.changes.learned == before && ctx.Err() == context.DeadlineExceeded
			return ctx.Err()
		}
	}
	return nil
}

// note changes what is known about the changes by f, and wakes those who wait.
func (c *Conn) note(f func()) {
	c.changes.Lock()
	defer c.changes.Unlock()
	f()
	if c.changes.progress != nil {
		close(c.changes.progress)
		c.changes.progress = nil
	}
}

// Flush waits until what was posted has been sent. It fails if the other process has not taken it within limit.
func (c *Conn) Flush(limit time.Duration) error {
	c.posts.Lock()
	posting := c.posting
	c.posts.Unlock()
	if posting == nil {
		return nil
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-posting:
		return nil
	case <-timer.C:
		return errSilent
	}
}

// Receive waits for a message that is no Learned. io.EOF says that the other process has ended, or
// closed its end.
func (c *Conn) Receive() (Message, error) {
	for {
		m, err := c.receive()
		switch {
		case err != nil:
			c.note(func() { c.changes.confirmed = false })
		case m.Kind == Learned:
			c.note(func() { c.changes.learned, c.changes.silent = c.changes.learned+1, false })
			continue
		case m.Confirms && m.Kind != Ready:
			c.note(func() { c.changes.confirmed = true })
		}
		return m, err
	}
}

func (c *Conn) receive() (m Message, err error) {
	var length [4]byte
	if _, err := io.ReadFull(c.conn, length[:]); err != nil {
		return m, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxMessage {
		return m, fmt.Errorf("cannot read what the other process says: found a message of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("cannot read what the other process says: %w", err)
	}
	if m.Carries {
		m.File, err = c.receiveFile(m.Name)
	}
	return m, err
}

func (c *Conn) receiveFile(name string) (*os.File, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.conn.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil {
		return nil, err
	}
	list, err := unix.ParseSocketControlMessage(rights[:n])
	if err == nil && len(list) != 1 {
		err = errors.New("found no descriptor")
	}
	var fds []int
	if err == nil {
		fds, err = unix.ParseUnixRights(&list[0])
	}
	if err != nil {
		return nil, fmt.Errorf("cannot take %q over: %w", name, err)
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), name), nil
}

// HearFor ends Receive after d, even if the other end stays open; 0 ends that.
func (c *Conn) HearFor(d time.Duration) {
	end := time.Time{}
	if d > 0 {
		end = time.Now().Add(d)
	}
	_ = c.conn.SetReadDeadline(end) // fails if it is closed
}

// Close closes this end.
func (c *Conn) Close() error { return c.conn.Close() }
