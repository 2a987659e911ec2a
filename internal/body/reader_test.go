package body_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http/httputil"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"weir/internal/body"
	"weir/internal/head"
	"weir/internal/sock"
	"weir/internal/testkit"
)

// readBody reads a body to its end.
func readBody(b body.Source) (string, error) {
	var all []byte
	buf := make([]byte, 7)
	for {
		p, err := b.Next(buf)
		all = append(all, p...)
		if err != nil {
			if err == io.EOF && len(p) > 0 {
				panic("bytes with an error")
			}
			return string(all), err
		}
		if len(p) == 0 {
			panic("neither bytes nor an error")
		}
		if b.Done() {
			return string(all), io.EOF
		}
	}
}

// sources are ways for the same bytes to arrive.
var sources = map[string]func(io.Reader) io.Reader{
	"at once":           func(r io.Reader) io.Reader { return r },
	"byte by byte":      iotest.OneByteReader,
	"in halves":         iotest.HalfReader,
	"with their end":    iotest.DataErrReader,
	"halves, data, err": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.HalfReader(r)) },
}

func TestReader(t *testing.T) {
	check := func(framing body.Framing, length int64, input, want, rest string, end error) {
		t.Helper()
		for name, source := range sources {
			br := bufio.NewReader(source(strings.NewReader(input)))
			var b body.Reader
			b.Reset(br, framing, length)
			got, err := readBody(&b)
			if got != want || err != end {
				t.Errorf("%q %s: %q, %v; want %q, %v", input, name, got, err, want, end)
			}
			if b.Seen() != int64(len(got)) {
				t.Errorf("%q %s: %d bytes seen of %q", input, name, b.Seen(), got)
			}
			if end != io.EOF {
				if b.Done() || b.Proven() || b.Trailer() != nil {
					t.Errorf("%q %s: looks whole", input, name)
				}
				continue
			}
			if !b.Done() || !b.Whole() || b.Proven() != (framing != body.FramingClose) || b.Framing() != framing {
				t.Errorf("%q %s: done %v, whole %v, proven %v", input, name, b.Done(), b.Whole(), b.Proven())
			}
			left, _ := io.ReadAll(br)
			if string(left) != rest {
				t.Errorf("%q %s: %q is left, want %q", input, name, left, rest)
			}
		}
	}
	check(body.FramingNone, 0, "next", "", "next", io.EOF)
	check(body.FramingLength, 0, "next", "", "next", io.EOF)
	check(body.FramingLength, 5, "hellonext", "hello", "next", io.EOF)
	check(body.FramingLength, 5, "hell", "hell", "", body.ErrTruncated)
	check(body.FramingClose, 0, "hello", "hello", "", io.EOF)
	check(body.FramingChunked, 0, "0\r\n\r\nnext", "", "next", io.EOF)
	check(body.FramingChunked, 0, "5\r\nhello\r\n0\r\n\r\nnext", "hello", "next", io.EOF)
	check(body.FramingChunked, 0, "5 ;a=b\r\nhello\r\n0000\r\nX: y\r\n\r\nnext", "hello", "next", io.EOF)
	check(body.FramingChunked, 0, "A\r\n0123456789\r\n1;\r\nx\r\n0\r\n\r\n", "0123456789x", "", io.EOF)
	for n := range len("5\r\nhello\r\n0\r\n\r\n") {
		const whole = "5\r\nhello\r\n0\r\n\r\n"
		check(body.FramingChunked, 0, whole[:n], "hello"[:min(max(n-3, 0), 5)], "", body.ErrTruncated)
	}
	check(body.FramingChunked, 0, "5\nhello", "", "", body.DefectChunk)
	check(body.FramingChunked, 0, "5\r\nhello!\r\n", "hello", "", body.DefectChunk)
	check(body.FramingChunked, 0, "5;\x01\r\nhello\r\n", "", "", body.DefectChunk)
	check(body.FramingChunked, 0, "1000000000000000\r\n", "", "", body.DefectChunk)
	check(body.FramingChunked, 0, "1;"+strings.Repeat("a", body.MaxChunkLine)+"\r\nx\r\n", "", "", body.DefectChunk)
	check(body.FramingChunked, 0, strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 20), strings.Repeat("x", 16), "", body.DefectChunkOverhead)
	check(body.FramingChunked, 0, "0\r\nnothing\r\n\r\n", "", "", head.DefectTrailer)
	check(body.FramingChunked, 0, "0\r\nX: \x00\r\n\r\n", "", "", head.DefectTrailer)
	check(body.FramingChunked, 0, "0\r\nX: a\r\n b\r\n\r\n", "", "", head.DefectTrailer)
	check(body.FramingChunked, 0, "0\r\nX: a\n\r\n", "", "", body.DefectChunk)
	check(body.FramingChunked, 0, "0\r\n"+strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 20)+"\r\n", "", "", body.DefectTrailerSize)
}

// A trailer section is there after the end, and belongs to one message.
func TestReaderTrailer(t *testing.T) {
	br := bufio.NewReader(strings.NewReader("1\r\nx\r\n0\r\nX-A: 1\r\nETag:  \"e\" \r\nx-a: 2\r\n\r\n" + "0\r\n\r\n" + "0\r\nVia: v\r\n\r\n"))
	var b body.Reader
	check := func(want string, present head.Set) {
		t.Helper()
		b.Reset(br, body.FramingChunked, 0)
		if b.Trailer() != nil {
			t.Error("a trailer section before the end")
		}
		if _, err := readBody(&b); err != io.EOF {
			t.Fatal(err)
		}
		h := b.Trailer()
		if h == nil {
			h = new(head.Head)
		} else if want == "" {
			t.Error("an empty trailer section is not nil")
		}
		if got := string(h.AppendFields(nil)); got != want || h.Present() != present {
			t.Errorf("trailer %q with fields %#x, want %q with %#x", got, h.Present(), want, present)
		}
	}
	check("X-A: 1\r\nETag:  \"e\" \r\nx-a: 2\r\n", head.SetOf(head.ETag))
	check("", 0)
	check("Via: v\r\n", head.SetOf(head.Via))
}

// Left says what is still to come, if that is known.
func TestReaderLeft(t *testing.T) {
	check := func(framing body.Framing, before, between, after int64, whole bool) {
		t.Helper()
		br := bufio.NewReader(io.MultiReader(strings.NewReader("2\r\n01"), strings.NewReader("\r\n0\r\n\r\n")))
		br.Peek(1)
		var b body.Reader
		b.Reset(br, framing, 12)
		if b.Left() != before || b.Whole() {
			t.Errorf("framing %v: %d left at first, want %d; whole %v", framing, b.Left(), before, b.Whole())
		}
		if _, err := b.Next(make([]byte, 100)); err != nil || b.Left() != between || b.Whole() != whole {
			t.Errorf("framing %v: %d left then, want %d; whole %v, %v", framing, b.Left(), between, b.Whole(), err)
		}
		if _, err := readBody(&b); err != io.EOF || b.Left() != after || !b.Whole() {
			t.Errorf("framing %v: %d left in the end, want %d; whole %v, %v", framing, b.Left(), after, b.Whole(), err)
		}
	}
	check(body.FramingLength, 12, 7, 0, false)
	check(body.FramingChunked, -1, -1, -1, false)
	check(body.FramingClose, -1, -1, -1, false)
	var b body.Reader
	b.Reset(bufio.NewReader(strings.NewReader("next")), body.FramingNone, 0)
	if b.Left() != 0 || !b.Whole() || !b.Done() || !b.Ready() {
		t.Errorf("no body: %d left, whole %v, done %v, ready %v", b.Left(), b.Whole(), b.Done(), b.Ready())
	}
	br := bufio.NewReader(strings.NewReader("hello"))
	br.Peek(5)
	b.Reset(br, body.FramingLength, 5)
	if !b.Whole() || b.Done() {
		t.Errorf("all of it has come: whole %v, done %v", b.Whole(), b.Done())
	}
}

// Ready promises that Next does not read, and never keeps back what is there.
func TestReaderReady(t *testing.T) {
	check := func(framing body.Framing, length int64, before, after string) {
		t.Helper()
		client, server := io.Pipe()
		go func() {
			io.WriteString(server, before)
			io.WriteString(server, after)
			server.Close()
		}()
		br := bufio.NewReader(client)
		var b body.Reader
		b.Reset(br, framing, length)
		br.Peek(1) // all of before arrives
		n := int64(0)
		for b.Ready() && !b.Done() {
			held := br.Buffered()
			p, err := b.Next(make([]byte, 10))
			if err != nil && err != io.EOF {
				t.Fatalf("%q: %v", before, err)
			}
			n += int64(len(p))
			if br.Buffered() > held {
				t.Errorf("%q: Next has read although it was ready", before)
			}
		}
		client.Close()
	}
	check(body.FramingLength, 10, "hello", "world")
	check(body.FramingChunked, 0, "5\r\nhello\r\n", "0\r\n\r\n")
	check(body.FramingChunked, 0, "5\r\nhel", "lo\r\n0\r\n\r\n")
	check(body.FramingChunked, 0, "5\r\nhello", "\r\n0\r\n\r\n")
	check(body.FramingChunked, 0, "5\r\nhello\r", "\n0\r\n\r\n")
	check(body.FramingChunked, 0, "5\r\nhello\r\n0", "0\r\n\r\n")
	check(body.FramingChunked, 0, "5\r\nhello\r\n0;a\r\n\r", "\n")
	check(body.FramingChunked, 0, "5\r\nhello\r\n0\r\nX: y\r\n", "\r\n")
	check(body.FramingChunked, 0, "5\r\nhello\r\n000A\r\n", "0123456789\r\n0\r\n\r\n")
	check(body.FramingChunked, 0, "5\r\nhello\r\n05\r\nh\r\n\r\n", "\r\n0\r\n\r\n")
}

// connected returns both ends of a connection.
func connected(t *testing.T) (near *sock.Stream, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return sock.NewStream(c), far
}

// NextHere brings what has come to the socket, and says without a wait that nothing has.
func TestReaderHere(t *testing.T) {
	t.Parallel()
	s, far := connected(t)
	br := bufio.NewReaderSize(s, 16)
	var b body.Reader
	b.Reset(br, body.FramingLength, 60)
	b.OnSocket(s)
	buf := make([]byte, 16) // no smaller than that of br, so that what is read goes there at once
	want := func(p []byte, err error, text string) {
		t.Helper()
		if string(p) != text || err != nil {
			t.Fatalf("%q, %v; want %q", p, err, text)
		}
	}
	if b.More() {
		t.Error("more has come before anything was read")
	}
	io.WriteString(far, "0123456789abcdef")
	if p, err := br.Peek(16); err != nil {
		t.Fatal(string(p), err)
	}
	if b.More() {
		t.Error("Next is not needed for what is buffered")
	}
	p, err := b.Next(buf)
	want(p, err, "0123456789abcdef")
	if !b.More() {
		t.Error("nothing more has come, though the buffer was filled")
	}
	if p, err := b.NextHere(buf); len(p) > 0 || err != sock.ErrAgain {
		t.Errorf("nothing has come: %q, %v", p, err)
	}
	if b.More() {
		t.Error("more has come, though nothing had")
	}
	io.WriteString(far, "ghijklmnopqrstuvwxy")
	p, err = b.Next(buf)
	want(p, err, "ghijklmnopqrstuv")
	if !b.More() {
		t.Error("nothing more has come, though the read was filled")
	}
	p, err = b.NextHere(buf)
	want(p, err, "wxy")
	if b.More() || b.Left() != 25 || b.Seen() != 35 {
		t.Errorf("more has come %v, %d left, %d seen", b.More(), b.Left(), b.Seen())
	}
	io.WriteString(far, "0123456789abcdef")
	p, err = b.Next(buf)
	want(p, err, "0123456789abcdef")
	far.Close()
	testkit.Eventually(t, "the end comes", func() bool {
		_, err = b.NextHere(buf)
		return err != sock.ErrAgain
	})
	if err != body.ErrTruncated {
		t.Errorf("the end before the body's end is %v", err)
	}
	if _, err := b.Next(buf); err != body.ErrTruncated {
		t.Errorf("after that comes %v", err)
	}
}

// In chunks, NextHere goes on over the lines between them, as far as they have come.
func TestReaderHereChunked(t *testing.T) {
	t.Parallel()
	s, far := connected(t)
	br := bufio.NewReaderSize(s, 16)
	var b body.Reader
	b.Reset(br, body.FramingChunked, 0)
	b.OnSocket(s)
	buf := make([]byte, 16)
	next := func(p []byte, err error, want string, more bool) {
		t.Helper()
		if string(p) != want || err != nil || b.More() != more {
			t.Fatalf("%q, %v, more has come: %v; want %q and %v", p, err, b.More(), want, more)
		}
	}
	io.WriteString(far, "10\r\n0123456789ab")
	if _, err := br.Peek(16); err != nil {
		t.Fatal(err)
	}
	p, err := b.Next(buf)
	next(p, err, "0123456789ab", true)
	if p, err := b.NextHere(buf); len(p) > 0 || err != sock.ErrAgain {
		t.Errorf("nothing has come: %q, %v", p, err)
	}
	io.WriteString(far, "cdef\r\n5\r\nhello\r\n0\r\n\r\n")
	p, err = b.Next(buf)
	next(p, err, "cdef", false) // the next chunk is in br
	p, err = b.Next(buf)
	next(p, err, "hello", true) // br was filled, and not all of the end is there
	if p, err := b.NextHere(buf); len(p) > 0 || err != io.EOF || !b.Proven() || b.Seen() != 21 {
		t.Errorf("the end is %q, %v, after %d bytes", p, err, b.Seen())
	}
	if b.More() {
		t.Error("more has come after the end")
	}
}

// Wherever a pause is in a chunked body, what NextHere and Next bring together is the whole of it, and nothing of what follows.
func TestReaderHereAnywhere(t *testing.T) {
	t.Parallel()
	const long = "0123456789abcdefghijklmnopqrstuvwxyz"
	for _, c := range []struct {
		input, want string
		end         error
	}{
		{"5\r\nhello\r\n0\r\n\r\n", "hello", io.EOF},
		{"0\r\n\r\n", "", io.EOF},
		{"1\r\na\r\n1\r\nb\r\n02;x\r\ncd\r\n00;y=z\r\n\r\n", "abcd", io.EOF},
		{"24\r\n" + long + "\r\n24;a=b\r\n" + long + "\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", long + long + "!", io.EOF},
		{"5\r\nhello\rx5\r\nhello\r\n0\r\n\r\n", "hello", body.DefectChunk},
		{"5\r\nhello\r\ng\r\n", "hello", body.DefectChunk},
		{"5\r\nhello\r\n5 x\r\nhello", "hello", body.DefectChunk},
	} {
		for _, size := range []int{16, 64} {
			s, far := connected(t)
			br := bufio.NewReaderSize(s, size)
			for at := range len(c.input) {
				var b body.Reader
				b.Reset(br, body.FramingChunked, 0)
				b.OnSocket(s)
				io.WriteString(far, c.input[:at])
				rest := c.input[at:]
				got, err := readHere(&b, make([]byte, size), func() {
					io.WriteString(far, rest)
					rest = ""
				})
				io.WriteString(far, rest+"next")
				if c.end != io.EOF {
					br.Discard(br.Buffered())
					s, far = connected(t)
					br.Reset(s)
				} else if p, err := br.Peek(4); string(p) != "next" {
					t.Fatalf("%q in pieces of %d and more: then came %q, %v", c.input, at, p, err)
				} else {
					br.Discard(4)
				}
				if got != c.want || err != c.end || strings.Contains(c.input, "X-Sum") != (b.Trailer() != nil) {
					t.Errorf("%q in pieces of %d and more, %d bytes at once: %q, %v, trailer %v", c.input, at, size, got, err, b.Trailer())
				}

				// The same ends there.
				s, far := connected(t)
				b.Reset(bufio.NewReaderSize(s, size), body.FramingChunked, 0)
				b.OnSocket(s)
				io.WriteString(far, c.input[:at])
				got, err = readHere(&b, make([]byte, size), func() { far.Close() })
				far.Close()
				if !strings.HasPrefix(c.want, got) || err != body.ErrTruncated && err != c.end || err == io.EOF {
					t.Errorf("%q cut at %d, %d bytes at once: %q, %v", c.input, at, size, got, err)
				}
			}
		}
	}
}

// readHere reads a body to its end, and calls pause before each wait.
func readHere(b *body.Reader, buf []byte, pause func()) (string, error) {
	var all []byte
	for {
		p, err := []byte(nil), error(sock.ErrAgain)
		switch {
		case b.Ready():
			p, err = b.Next(buf)
		case b.More():
			p, err = b.NextHere(buf)
		}
		if err == sock.ErrAgain {
			pause()
			p, err = b.Next(buf)
		}
		all = append(all, p...)
		if err != nil {
			return string(all), err
		}
		if len(p) == 0 {
			panic("neither bytes nor an error")
		}
	}
}

// Kernel names the socket for the rest of a body by length, once nothing of it is buffered.
func TestReaderKernel(t *testing.T) {
	s, far := connected(t)
	if _, err := far.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(s)
	if _, err := br.Peek(5); err != nil {
		t.Fatal(err)
	}
	var b body.Reader
	check := func(what string, socket *sock.Stream) {
		t.Helper()
		if k := b.Kernel(); k != (body.Kernel{Socket: socket}) {
			t.Errorf("%s: %+v", what, k)
		}
	}
	b.Reset(br, body.FramingLength, 12)
	check("no socket", nil)
	b.OnSocket(s)
	check("bytes are buffered", nil)
	if p, err := b.Next(nil); string(p) != "hello" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	check("nothing is buffered", s)
	b.Moved(3)
	check("a part was moved", s)
	if b.Left() != 4 || b.Seen() != 8 || b.Done() {
		t.Errorf("%d left, %d seen, done %v", b.Left(), b.Seen(), b.Done())
	}
	b.Moved(4)
	if b.Left() != 0 || b.Seen() != 12 || !b.Done() || !b.Proven() || !b.Ready() {
		t.Errorf("in the end: %d left, %d seen, done %v, proven %v", b.Left(), b.Seen(), b.Done(), b.Proven())
	}
	if p, err := b.Next(nil); len(p) > 0 || err != io.EOF {
		t.Errorf("after the end: %q, %v", p, err)
	}
	for _, framing := range []body.Framing{body.FramingNone, body.FramingChunked, body.FramingClose} {
		b.Reset(br, framing, 0)
		b.OnSocket(s)
		check("a body without length", nil)
	}
	b.Reset(br, body.FramingLength, 12)
	check("the next message", nil)
	b.OnSocket(nil)
	check("under TLS", nil)
}

// pieces is a connection on which data comes in pieces of the given sizes, and then the rest.
type pieces struct {
	data  []byte
	sizes []byte
	reads int
}

func (p *pieces) Read(b []byte) (int, error) {
	p.reads++
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	size := len(p.data)
	if len(p.sizes) > 0 {
		size, p.sizes = min(size, int(p.sizes[0])%16+1), p.sizes[1:]
	}
	n := copy(b, p.data[:size])
	p.data = p.data[n:]
	return n, nil
}

// readReady is readBody that sees to it that a Reader which is ready does not read.
func readReady(t *testing.T, b *body.Reader, from *pieces) (string, error) {
	var all []byte
	buf := make([]byte, 5)
	for {
		ready, reads := b.Ready(), from.reads
		p, err := b.Next(buf)
		if ready && from.reads != reads {
			t.Fatalf("after %q: Next has read although it was ready", all)
		}
		if all = append(all, p...); err != nil {
			return string(all), err
		}
	}
}

// sameTrailer says whether h is the trailer section that net/http reads.
func sameTrailer(h *head.Head, mime textproto.MIMEHeader) bool {
	n := 0
	if h == nil {
		return len(mime) == 0
	}
	for f := range h.All() {
		values := mime[textproto.CanonicalMIMEHeaderKey(string(f.Name))]
		if !slices.Contains(values, string(f.Value)) {
			return false
		}
		n++
	}
	for _, values := range mime {
		n -= len(values)
	}
	return n == 0
}

// Whatever the decoder takes, the one of net/http takes as well, with the same content and
// trailer section; nothing after the end is touched; how the bytes arrive makes no difference;
// and what is encoded again means the same.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"5\r\nhello\r\n0\r\n\r\nnext", "0\r\n\r\n", "1;a=b\r\nx\r\n0\r\nX: y\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
		"00A;\"\r\n0123456789\r\n0\r\n\r\n", "5\nhello\n0\n\n", "ffffffffffffffff\r\n", "-1\r\n",
		"05\r\nh\r\n\r\nx\r\n5\r\n0\r\n\r\n\r\n0;a\r\nX: y\r\nx: z\r\nHost: a\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), []byte{3, 0, 0, 15, 1})
	}
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		var b body.Reader
		br := bufio.NewReader(bytes.NewReader(data))
		b.Reset(br, body.FramingChunked, 0)
		got, err := readBody(&b)
		rest, _ := io.ReadAll(br)

		slow := &pieces{data: data, sizes: sizes}
		var again body.Reader
		slowly := bufio.NewReader(slow)
		again.Reset(slowly, body.FramingChunked, 0)
		if in, e := readReady(t, &again, slow); in != got || e != err {
			t.Fatalf("%q: in pieces of %v it is %q, %v, at once %q, %v", data, sizes, in, e, got, err)
		}
		if err != io.EOF {
			var d *head.Defect
			if err != body.ErrTruncated && !errors.As(err, &d) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		if after, _ := io.ReadAll(slowly); !bytes.Equal(after, rest) {
			t.Fatalf("%q: in pieces of %v %q is left, at once %q", data, sizes, after, rest)
		}

		used := data[:len(data)-len(rest)]
		if !bytes.HasSuffix(used, []byte("\r\n")) {
			t.Fatalf("%q ends after %q", data, used)
		}
		theirs := bufio.NewReader(bytes.NewReader(used))
		want, err := io.ReadAll(httputil.NewChunkedReader(theirs))
		if err != nil || string(want) != got {
			t.Fatalf("%q: we read %q, net/http %q, %v", used, got, want, err)
		}
		mime, err := textproto.NewReader(theirs).ReadMIMEHeader()
		if err != nil || !sameTrailer(b.Trailer(), mime) || !sameTrailer(again.Trailer(), mime) {
			t.Fatalf("%q: net/http reads the trailer section %v, %v", used, mime, err)
		}
		for name := range mime {
			if !head.MayTrail([]byte(name)) {
				delete(mime, name)
			}
		}

		var encoded []byte
		for p := []byte(got); len(p) > 0; {
			n := min(len(p), len(sizes)+1)
			encoded = append(append(body.AppendChunkHead(encoded, n), p[:n]...), '\r', '\n')
			p = p[n:]
		}
		encoded = body.AppendLastChunk(encoded, b.Trailer())
		again.Reset(bufio.NewReader(bytes.NewReader(encoded)), body.FramingChunked, 0)
		if in, err := readBody(&again); in != got || err != io.EOF || !sameTrailer(again.Trailer(), mime) {
			t.Fatalf("%q: encoded again it is %q, %v", data, in, err)
		}
	})
}

// pausing is a reader that is paused before each byte.
type pausing struct {
	r      io.Reader
	paused bool
}

func (p *pausing) Read(buf []byte) (int, error) {
	if p.paused = !p.paused; p.paused {
		return 0, body.ErrPaused
	}
	return p.r.Read(buf[:1])
}

// A body goes on where it was paused, wherever that is.
func TestReaderPaused(t *testing.T) {
	check := func(framing body.Framing, length int64, input, want string, end error) {
		t.Helper()
		br := bufio.NewReader(&pausing{r: strings.NewReader(input)})
		var b body.Reader
		b.Reset(br, framing, length)
		var got []byte
		pauses := 0
		for {
			p, err := b.Next(make([]byte, 7))
			got = append(got, p...)
			if err == body.ErrPaused {
				pauses++
				continue
			}
			if err != nil || b.Done() {
				if err == nil {
					err = io.EOF
				}
				if string(got) != want || err != end || pauses < len(want) {
					t.Errorf("%q is %q, %v after %d pauses", input, got, err, pauses)
				}
				return
			}
		}
	}
	check(body.FramingLength, 5, "hello", "hello", io.EOF)
	check(body.FramingLength, 6, "hello", "hello", body.ErrTruncated)
	check(body.FramingClose, -1, "hello", "hello", io.EOF)
	check(body.FramingChunked, -1, "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", "hello!", io.EOF)
	check(body.FramingChunked, -1, "5\r\nhello\rx", "hello", body.DefectChunk)
	check(body.FramingChunked, -1, "5\r\nhello\r\n1", "hello", body.ErrTruncated)
}

// A reader knows what is wrong with what has come of a body before any of it is read, and nothing else.
func TestReaderFlaw(t *testing.T) {
	check := func(input string, want error) {
		t.Helper()
		br := bufio.NewReaderSize(strings.NewReader(input), 4096)
		if _, err := br.Peek(1); err != nil {
			t.Fatal(err)
		}
		var b body.Reader
		b.Reset(br, body.FramingChunked, 0)
		if got := b.Flaw(); got != want {
			t.Errorf("%.50q: found %v, want %v", input, got, want)
		}
		if _, err := readBody(&b); (err == io.EOF) != (want == nil) && err != body.ErrTruncated {
			t.Errorf("%.50q: read to %v, but found %v", input, err, want)
		}
	}
	check("0\r\n\r\n", nil)
	check("5\r\nhello\r\n0\r\nX-A: 1\r\n\r\n", nil)
	check("5;a=b\r\nhello\r\n", nil)
	check("5\r\nhel", nil) // more may come
	check("5\r\nhello", nil)
	check("5\r\nhello\r", nil)
	check("5\r\nhello\r\nzz", nil)
	check("zz\r\n", body.DefectChunk)
	check("\r\n", body.DefectChunk)
	check("5\n", body.DefectChunk)
	check("5\r\nhelloworld", body.DefectChunk)
	check("5\r\nhello\r\n-1\r\n", body.DefectChunk)
	check("5\r\nhello\r\n0\r\ngarbage\r\n\r\n", head.DefectTrailer)
	check(strings.Repeat("1;"+strings.Repeat("e", 50)+"\r\na\r\n", 60), nil)

	// A body by length, or until the end of the connection, has none.
	var b body.Reader
	b.Reset(bufio.NewReader(strings.NewReader("zz\r\n")), body.FramingLength, 10)
	if err := b.Flaw(); err != nil {
		t.Error(err)
	}
}
