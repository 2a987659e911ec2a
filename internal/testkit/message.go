package testkit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Message is a request or a response as it stood on the wire.
type Message struct {
	// Line is the first line, Fields are the header fields in their order.
	Line   string
	Fields []Field
	// Head are the raw bytes up to the empty line, with it.
	Head string
	// Framing is "none", "length", "chunked" or "close".
	Framing string
	// Body is the content. Chunks are its pieces if it was chunked, and Trailer
	// is the raw trailer section.
	Body    string
	Chunks  []string
	Trailer string
	body    strings.Builder // of chunks
	// Interim are the interim responses that came before a response.
	Interim []*Message
}

// Field is a header field; its name is as it was sent.
type Field struct{ Name, Value string }

// All returns the values of the fields of a name, in any case of its letters.
func (m *Message) All(name string) []string {
	var values []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Get returns the values of a name, joined by ", ".
func (m *Message) Get(name string) string { return strings.Join(m.All(name), ", ") }

// Has says whether there is a field of this name.
func (m *Message) Has(name string) bool { return len(m.All(name)) > 0 }

// Status returns the status code of a response, 0 for a request.
func (m *Message) Status() int {
	if !strings.HasPrefix(m.Line, "HTTP/1.") || len(m.Line) < 12 {
		return 0
	}
	n, _ := strconv.Atoi(m.Line[9:12])
	return n
}

// Target returns the target of a request.
func (m *Message) Target() string {
	parts := strings.Split(m.Line, " ")
	if len(parts) != 3 {
		return ""
	}
	return parts[1]
}

// ErrNothing is the end of a connection where a message could have begun.
var ErrNothing = errors.New("connection ended between messages")

// ReadHead reads one head. Anything that RFC 9112 does not let a sender send is
// an error.
func ReadHead(br *bufio.Reader) (*Message, error) {
	m := &Message{}
	for {
		line, err := readLine(br)
		if err != nil {
			if errors.Is(err, io.EOF) && m.Head == "" && line == "" {
				return nil, ErrNothing
			}
			return nil, fmt.Errorf("head ends after %q: %w", m.Head+line, err)
		}
		m.Head += line + "\r\n"
		switch {
		case line == "":
			return m, m.frame()
		case m.Line == "":
			m.Line = line
			if strings.Count(line, " ") < 2 {
				return nil, fmt.Errorf("first line is %q", line)
			}
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return !token(r) }) {
			return nil, fmt.Errorf("header line is %q", line)
		}
		m.Fields = append(m.Fields, Field{name, strings.Trim(value, " \t")})
	}
}

func token(r rune) bool {
	return r < 0x7f && r > ' ' && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// readLine reads up to CRLF. It returns what there is with an error.
func readLine(br *bufio.Reader) (string, error) {
	line, err := br.ReadString('\n')
	if err != nil {
		return line, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return line, fmt.Errorf("line %q does not end in CRLF", line)
	}
	return line, nil
}

// frame finds out how the body's end is known, as for a request.
func (m *Message) frame() error {
	lengths, codings := m.All("Content-Length"), m.All("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return fmt.Errorf("framing is ambiguous: Content-Length %q, Transfer-Encoding %q", lengths, codings)
	case len(codings) == 1:
		if codings[0] != "chunked" {
			return fmt.Errorf("Transfer-Encoding is %q", codings[0])
		}
		m.Framing = "chunked"
	case len(lengths) == 1:
		if _, err := strconv.ParseUint(lengths[0], 10, 63); err != nil {
			return fmt.Errorf("Content-Length is %q", lengths[0])
		}
		m.Framing = "length"
	default:
		m.Framing = "none"
	}
	return nil
}

// frameResponse does the same for the response to a request with this method.
func (m *Message) frameResponse(method string) {
	status := m.Status()
	switch {
	case method == "HEAD", status < 200, status == 204, status == 304:
		m.Framing = "none"
	case m.Framing == "none":
		m.Framing = "close"
	}
}

// ReadBody reads the body that m's framing says. The error for one that is cut
// short is io.ErrUnexpectedEOF.
func (m *Message) ReadBody(br *bufio.Reader) error {
	switch m.Framing {
	case "length":
		n, _ := strconv.ParseInt(m.Get("Content-Length"), 10, 64)
		b := make([]byte, n)
		got, err := io.ReadFull(br, b)
		m.Body = string(b[:got])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	case "chunked":
		for {
			c, err := m.ReadChunk(br)
			if err != nil || c == "" {
				return err
			}
		}
	case "close":
		b, err := io.ReadAll(br)
		m.Body = string(b)
		return err
	}
	return nil
}

// ReadChunk reads one chunk of a chunked body; it returns "" after the last one
// and its trailer section.
func (m *Message) ReadChunk(br *bufio.Reader) (string, error) {
	line, err := readLine(br)
	if err != nil {
		return "", cut(err)
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(size, 16, 31)
	if err != nil || size == "" || size[0] == '+' {
		return "", fmt.Errorf("chunk line is %q", line)
	}
	if n == 0 {
		for {
			line, err := readLine(br)
			if err != nil {
				return "", cut(err)
			}
			if line == "" {
				return "", nil
			}
			m.Trailer += line + "\r\n"
		}
	}
	b := make([]byte, n+2)
	got, err := io.ReadFull(br, b)
	m.body.Write(b[:min(got, int(n))])
	m.Body = m.body.String()
	if err != nil {
		return "", cut(err)
	}
	if string(b[n:]) != "\r\n" {
		return "", fmt.Errorf("chunk %q is followed by %q", b[:n], b[n:])
	}
	chunk := m.Body[len(m.Body)-int(n):]
	m.Chunks = append(m.Chunks, chunk)
	return chunk, nil
}

func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadRequest reads a whole request.
func ReadRequest(br *bufio.Reader) (*Message, error) {
	m, err := ReadHead(br)
	if err != nil {
		return m, err
	}
	return m, m.ReadBody(br)
}

// ReadResponseHead reads the interim responses and the final head that answer a
// request with this method.
func ReadResponseHead(br *bufio.Reader, method string) (*Message, error) {
	var interim []*Message
	for {
		m, err := ReadHead(br)
		if err != nil {
			return m, err
		}
		status := m.Status()
		if status == 0 {
			return m, fmt.Errorf("status line is %q", m.Line)
		}
		m.frameResponse(method)
		if status >= 200 || status == 101 {
			m.Interim = interim
			return m, nil
		}
		interim = append(interim, m)
	}
}

// ReadResponse reads a whole response to a request with this method.
func ReadResponse(br *bufio.Reader, method string) (*Message, error) {
	m, err := ReadResponseHead(br, method)
	if err != nil {
		return m, err
	}
	return m, m.ReadBody(br)
}
