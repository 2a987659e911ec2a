package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/iotest"

	"weir/internal/wire"
)

// readBody reads a body to its end.
func readBody(b *wire.Body) (string, error) {
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

func TestBody(t *testing.T) {
	check := func(framing wire.Framing, length int64, input, want, rest string, end error) {
		t.Helper()
		for name, source := range sources {
			br := bufio.NewReader(source(strings.NewReader(input)))
			var b wire.Body
			b.Reset(br, framing, length)
			got, err := readBody(&b)
			if got != want || err != end {
				t.Errorf("%q %s: %q, %v; want %q, %v", input, name, got, err, want, end)
			}
			if b.Seen() != int64(len(got)) {
				t.Errorf("%q %s: %d bytes seen of %q", input, name, b.Seen(), got)
			}
			if end != io.EOF {
				if b.Done() || b.Proven() {
					t.Errorf("%q %s: looks whole", input, name)
				}
				continue
			}
			left, _ := io.ReadAll(br)
			if string(left) != rest {
				t.Errorf("%q %s: %q is left, want %q", input, name, left, rest)
			}
		}
	}
	check(wire.FramingNone, 0, "next", "", "next", io.EOF)
	check(wire.FramingLength, 0, "next", "", "next", io.EOF)
	check(wire.FramingLength, 5, "hellonext", "hello", "next", io.EOF)
	check(wire.FramingLength, 5, "hell", "hell", "", wire.ErrTruncated)
	check(wire.FramingClose, 0, "hello", "hello", "", io.EOF)
	check(wire.FramingChunked, 0, "0\r\n\r\nnext", "", "next", io.EOF)
	check(wire.FramingChunked, 0, "5\r\nhello\r\n0\r\n\r\nnext", "hello", "next", io.EOF)
	check(wire.FramingChunked, 0, "5 ;a=b\r\nhello\r\n0000\r\nX: y\r\n\r\nnext", "hello", "next", io.EOF)
	check(wire.FramingChunked, 0, "A\r\n0123456789\r\n1;\r\nx\r\n0\r\n\r\n", "0123456789x", "", io.EOF)
	for n := range len("5\r\nhello\r\n0\r\n\r\n") {
		const whole = "5\r\nhello\r\n0\r\n\r\n"
		check(wire.FramingChunked, 0, whole[:n], "hello"[:min(max(n-3, 0), 5)], "", wire.ErrTruncated)
	}
	check(wire.FramingChunked, 0, "5\nhello", "", "", wire.DefectChunk)
	check(wire.FramingChunked, 0, "5\r\nhello!\r\n", "hello", "", wire.DefectChunk)
	check(wire.FramingChunked, 0, "0\r\nnothing\r\n\r\n", "", "", wire.DefectTrailer)
	check(wire.FramingChunked, 0, "0\r\nX: \x00\r\n\r\n", "", "", wire.DefectTrailer)
}

// Ready promises that Next does not read, and never keeps back what is there.
func TestBodyReady(t *testing.T) {
	check := func(framing wire.Framing, length int64, before, after string) {
		t.Helper()
		client, server := io.Pipe()
		go func() {
			io.WriteString(server, before)
			io.WriteString(server, after)
			server.Close()
		}()
		br := bufio.NewReader(client)
		var b wire.Body
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
	check(wire.FramingLength, 10, "hello", "world")
	check(wire.FramingChunked, 0, "5\r\nhello\r\n", "0\r\n\r\n")
	check(wire.FramingChunked, 0, "5\r\nhel", "lo\r\n0\r\n\r\n")
	check(wire.FramingChunked, 0, "5\r\nhello", "\r\n0\r\n\r\n")
	check(wire.FramingChunked, 0, "5\r\nhello\r", "\n0\r\n\r\n")
	check(wire.FramingChunked, 0, "5\r\nhello\r\n0", "0\r\n\r\n")
	check(wire.FramingChunked, 0, "5\r\nhello\r\n0;a\r\n\r", "\n")
	check(wire.FramingChunked, 0, "5\r\nhello\r\n0\r\nX: y\r\n", "\r\n")
	check(wire.FramingChunked, 0, "5\r\nhello\r\n000A\r\n", "0123456789\r\n0\r\n\r\n")
	check(wire.FramingChunked, 0, "5\r\nhello\r\n05\r\nh\r\n\r\n", "\r\n0\r\n\r\n")
}

// Whatever the decoder takes, the one of net/http takes as well, with the same
// content; nothing behind the end is touched; and what is encoded again means
// the same.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"5\r\nhello\r\n0\r\n\r\nnext", "0\r\n\r\n", "1;a=b\r\nx\r\n0\r\nX: y\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n",
		"00A;\"\r\n0123456789\r\n0\r\n\r\n", "5\nhello\n0\n\n", "ffffffffffffffff\r\n", "-1\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		br := bufio.NewReader(bytes.NewReader(data))
		var b wire.Body
		b.Reset(br, wire.FramingChunked, 0)
		got, err := readBody(&b)
		if err != io.EOF {
			var d *wire.Defect
			if err != wire.ErrTruncated && !errors.As(err, &d) {
				t.Fatalf("error is %v", err)
			}
			return
		}
		rest, _ := io.ReadAll(br)
		used := data[:len(data)-len(rest)]
		if !bytes.HasSuffix(used, []byte("\r\n")) {
			t.Fatalf("%q ends after %q", data, used)
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(used)))
		if err != nil || string(want) != got {
			t.Fatalf("%q: we read %q, net/http %q, %v", used, got, want, err)
		}
		// Slowly it is the same.
		slow := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(data)))
		b.Reset(slow, wire.FramingChunked, 0)
		if again, err := readBody(&b); again != got || err != io.EOF {
			t.Fatalf("%q: slowly it is %q, %v, at once %q", data, again, err, got)
		}
		var encoded []byte
		for p := []byte(got); len(p) > 0; {
			n := min(len(p), int(step)+1)
			encoded = append(append(wire.AppendChunkHead(encoded, n), p[:n]...), '\r', '\n')
			p = p[n:]
		}
		encoded = wire.AppendLastChunk(encoded, b.Trailer())
		b.Reset(bufio.NewReader(bytes.NewReader(encoded)), wire.FramingChunked, 0)
		if again, err := readBody(&b); again != got || err != io.EOF {
			t.Fatalf("%q: encoded again it is %q, %v", data, again, err)
		}
	})
}
