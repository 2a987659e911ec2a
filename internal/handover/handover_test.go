package handover_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/handover"
	"weir/internal/testkit"
)

// TestMain is also the other process of the tests.
func TestMain(m *testing.M) {
	if os.Getenv("HANDOVER_TEST") != "" {
		if err := other(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// other answers what it gets, and serves one client of the socket that it gets.
func other() error {
	c, err := handover.Inherit()
	if err != nil || c == nil {
		return fmt.Errorf("nothing was inherited: %w", err)
	}
	if again, err := handover.Inherit(); again != nil || err != nil {
		return errors.New("inherited twice")
	}
	for {
		m, err := c.Receive()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if m.File != nil {
			l, err := net.FileListener(m.File)
			if err != nil {
				return err
			}
			client, err := l.Accept()
			if err != nil {
				return err
			}
			fmt.Fprint(client, m.Name)
			client.Close()
		}
		if err := c.Send(handover.Message{Kind: m.Kind, Text: "got " + m.Name, Data: m.Data}, nil); err != nil {
			return err
		}
	}
}

// TestProcesses: messages of any size go both ways, and a socket that was passed is served.
func TestProcesses(t *testing.T) {
	t.Parallel()
	c, theirs, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(handover.Environment(os.Environ(), os.Getpid()), "HANDOVER_TEST=1")
	cmd.ExtraFiles = []*os.File{theirs}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	hears := func(kind handover.Kind, text string, data []byte) {
		t.Helper()
		m, err := c.Receive()
		if err != nil || m.Kind != kind || m.Text != text || !bytes.Equal(m.Data, data) {
			t.Fatalf("%s %q with %d bytes, %v", m.Kind, m.Text, len(m.Data), err)
		}
	}
	large := bytes.Repeat([]byte("weir"), 1<<20)
	if err := c.Send(handover.Message{Kind: handover.Memory, Name: "memory", Data: large}, nil); err != nil {
		t.Fatal(err)
	}
	hears(handover.Memory, "got memory", large)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := c.Send(handover.Message{Kind: handover.Socket, Name: "front"}, l.(syscall.Conn)); err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(client); err != nil || string(text) != "front" {
		t.Errorf("the other process serves %q, %v", text, err)
	}
	client.Close()
	hears(handover.Socket, "got front", nil)

	for i := range 100 {
		c.Post(handover.Message{Kind: handover.Changed, Name: strconv.Itoa(i)})
	}
	testkit.Must(t, c.Flush(time.Minute))
	for i := range 100 {
		hears(handover.Changed, "got "+strconv.Itoa(i), nil)
	}
	c.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v, %s", err, complaints.String())
	}
	// What comes too late is lost, and nothing waits for it.
	c.Post(handover.Message{Kind: handover.Changed})
	testkit.Must(t, c.Flush(time.Minute))
	if err := c.Send(handover.Message{Kind: handover.Changed}, nil); err == nil {
		t.Error("a message was sent to a process that has ended")
	}
}

// TestAwait: who changes something goes on once the other process has learned that, or has ended, and does not
// wait for one that confirms nothing.
func TestAwait(t *testing.T) {
	t.Parallel()
	c, theirs, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	says := func(text string) {
		t.Helper()
		if _, err := theirs.Write(append([]byte{0, 0, 0, byte(len(text))}, text...)); err != nil {
			t.Fatal(err)
		}
	}
	await := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() { done <- c.Await(ctx) }()
		return done
	}
	c.Tell([]byte("before"))
	if err := <-await(t.Context()); err != nil {
		t.Error(err)
	}
	says(`{"kind":"joining","confirms":true}`)
	if m, err := c.Receive(); m.Kind != handover.Joining || err != nil {
		t.Fatalf("%q, %v", m.Kind, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := <-await(ended); err != context.Canceled {
		t.Errorf("the first change is not confirmed, but Await returns %v", err)
	}
	received := make(chan error, 1)
	go func() {
		_, err := c.Receive()
		received <- err
	}()
	says(`{"kind":"learned"}`)
	if err := <-await(t.Context()); err != nil {
		t.Error(err)
	}
	c.Tell([]byte("unheard"))
	short, done := context.WithTimeout(t.Context(), time.Millisecond)
	defer done()
	if err := <-await(short); err != context.DeadlineExceeded {
		t.Errorf("nothing was confirmed in time, but Await returns %v", err)
	}
	if err := <-await(t.Context()); err == nil {
		t.Error("nothing was confirmed, but Await returns nil")
	}
	says(`{"kind":"learned"}`)
	testkit.Eventually(t, "the process is heard again", func() bool { return <-await(t.Context()) == nil })
	c.Tell([]byte("last"))
	if err := <-await(ended); err != context.Canceled {
		t.Errorf("the second change is not confirmed, but Await returns %v", err)
	}
	last := await(t.Context())
	theirs.Close()
	if err := <-last; err != nil {
		t.Error(err)
	}
	if err := <-received; err == nil {
		t.Error("a message came from nowhere")
	}
}

// TestLost: changes for a process that takes none, as one that is stopped, do not fill the memory. When it takes them again,
// it is told that some are lost, and then the next ones.
func TestLost(t *testing.T) {
	t.Parallel()
	c, theirs, err := handover.Pair()
	testkit.Must(t, err)
	defer c.Close()
	c.Lost = func() []byte { return []byte("lost") }
	reader, err := net.FileConn(theirs)
	testkit.Must(t, err)
	theirs.Close()
	defer reader.Close()
	say := func(text string) {
		t.Helper()
		_, err := reader.Write(append([]byte{0, 0, 0, byte(len(text))}, text...))
		testkit.Must(t, err)
	}
	say(`{"kind":"joining","confirms":true}`)
	_, err = c.Receive()
	testkit.Must(t, err)
	large := bytes.Repeat([]byte("x"), 1<<20)
	const many = 100
	for range many {
		c.Tell(large)
	}
	if err := c.Await(t.Context()); err == nil {
		t.Error("changes were left out, but Await returns nil")
	}
	if err := c.Flush(time.Millisecond); err == nil {
		t.Error("nothing was taken, but Flush returns nil")
	}
	next := func() string {
		t.Helper()
		length := make([]byte, 4)
		_, err := io.ReadFull(reader, length)
		testkit.Must(t, err)
		text := make([]byte, binary.BigEndian.Uint32(length))
		_, err = io.ReadFull(reader, text)
		testkit.Must(t, err)
		var m handover.Message
		testkit.Must(t, json.Unmarshal(text, &m))
		if m.Kind != handover.Changed {
			t.Fatalf("%q came", m.Kind)
		}
		return string(m.Data)
	}
	came := 0
	text := next()
	for ; text == string(large); text = next() {
		came++
	}
	if text != "lost" || came == 0 || came > many/2 {
		t.Errorf("%d of %d changes came, then %.20q", came, many, text)
	}
	c.Tell([]byte("another"))
	if text := next(); text != "another" {
		t.Errorf("%.20q came", text)
	}
	go c.Receive()
	for range came + 1 {
		say(`{"kind":"learned"}`)
	}
	short, done := context.WithTimeout(t.Context(), time.Millisecond)
	defer done()
	if err := c.Await(short); err == nil {
		t.Error("the last change is not confirmed, but Await returns nil")
	}
	say(`{"kind":"learned"}`)
	testkit.Eventually(t, "all is confirmed", func() bool { return c.Await(t.Context()) == nil })
	testkit.Must(t, c.Flush(testkit.Limit))
}

// TestEnvironment: what is meant for the process alone is not passed on.
func TestEnvironment(t *testing.T) {
	got := handover.Environment([]string{
		"A=1", "LISTEN_PID=7", "LISTEN_FDS=1", "LISTEN_FDNAMES=x", "WATCHDOG_PID=7", "WATCHDOG_USEC=9", "WEIR_UPGRADE_FROM=6", "B",
	}, 7)
	if want := []string{"A=1", "WATCHDOG_USEC=9", "B", "WEIR_UPGRADE_FROM=7"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNotMeant: the variable of another process means nothing.
func TestNotMeant(t *testing.T) {
	t.Setenv("WEIR_UPGRADE_FROM", "1")
	if c, err := handover.Inherit(); c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
}

// TestBadMessage: what is no message is an error.
func TestBadMessage(t *testing.T) {
	t.Parallel()
	check := func(raw, want string) {
		t.Helper()
		c, theirs, err := handover.Pair()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := theirs.WriteString(raw); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		if _, err := c.Receive(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", raw, err, want)
		}
	}
	check("\xff\xff\xff\xff", "a message of 4294967295 bytes")
	check("\x00\x00\x00\x02xx", "invalid character")
	check("\x00\x00\x00\x09{}", "unexpected EOF")
	check("\x00\x00\x00\x10{\"carries\":true}", "EOF")
}
