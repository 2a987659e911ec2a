package load

import (
	"bytes"
	"errors"
)

// Failures of response.feed.
var (
	errHead    = errors.New("malformed answer head")
	errHeadBig = errors.New("answer head above 64 KiB")
	errChunk   = errors.New("malformed chunk")
)

const maxHead = 64 << 10

type part uint8

const (
	inHead part = iota
	inBody
	inChunkSize
	inChunkData
	inChunkEnd
	inTrailer
	toClose // the body ends with the connection
)

// response follows one answer through the pieces it arrives in. The zero value
// waits for a head; reset prepares it for the next answer and keeps its memory.
type response struct {
	part      part
	status    int
	body      int64 // body bytes seen
	remaining int64 // of the body or the chunk
	digits    int   // of the chunk size
	ext       bool  // inside a chunk extension
	line      int   // bytes of the trailer line, without CR and LF
	closing   bool  // the server closes after this answer
	chunked   bool
	length    int64 // -1: none
	bodyless  bool  // the request was HEAD
	head      []byte
}

// reset prepares for the answer to request.
func (r *response) reset(request []byte) {
	*r = response{head: r.head[:0], bodyless: bytes.HasPrefix(request, []byte("HEAD "))}
}

// answer is what is kept of a complete answer.
func (r *response) answer() answer { return answer{r.status, r.body} }

// feed takes the next bytes, says how many belong to this answer, and whether
// it is complete.
func (r *response) feed(p []byte) (used int, done bool, err error) {
	for used < len(p) {
		switch r.part {
		case inHead:
			n, err := r.feedHead(p[used:])
			if err != nil {
				return used, false, err
			}
			used += n
			if r.part == inHead {
				continue // the head is unfinished, or was an interim one
			}
			if r.part == inBody && r.remaining == 0 {
				return used, true, nil
			}
		case toClose:
			r.body += int64(len(p) - used)
			used = len(p)
		case inBody:
			n := min(int64(len(p)-used), r.remaining)
			used += int(n)
			r.body += n
			r.remaining -= n
			if r.remaining == 0 {
				return used, true, nil
			}
		case inChunkData:
			n := min(int64(len(p)-used), r.remaining)
			used += int(n)
			r.body += n
			r.remaining -= n
			if r.remaining == 0 {
				r.part = inChunkEnd
			}
		default:
			done, err := r.feedChunkByte(p[used])
			if err != nil {
				return used, false, err
			}
			used++
			if done {
				return used, true, nil
			}
		}
	}
	return used, false, nil
}

// feedHead takes head bytes; r.part leaves inHead when a final head is complete.
func (r *response) feedHead(p []byte) (int, error) {
	head := p
	n := 0
	if len(r.head) == 0 {
		// Most heads arrive in one piece and are not copied.
		end := bytes.Index(p, []byte("\r\n\r\n"))
		if end < 0 {
			if len(p) > maxHead {
				return 0, errHeadBig
			}
			r.head = append(r.head, p...)
			return len(p), nil
		}
		if n = end + 4; n > maxHead {
			return 0, errHeadBig
		}
		head = p[:n]
	} else {
		from := max(len(r.head)-3, 0)
		old := len(r.head)
		r.head = append(r.head, p...)
		end := bytes.Index(r.head[from:], []byte("\r\n\r\n"))
		if end < 0 {
			if len(r.head) > maxHead {
				return 0, errHeadBig
			}
			return len(p), nil
		}
		n = from + end + 4 - old
		head = r.head[:from+end+4]
	}
	err := r.parseHead(head)
	r.head = r.head[:0]
	return n, err
}

func (r *response) parseHead(h []byte) error {
	if len(h) < len("HTTP/1.1 200\r\n\r\n") || !bytes.HasPrefix(h, []byte("HTTP/1.")) || h[8] != ' ' {
		return errHead
	}
	r.status = 0
	for _, c := range h[9:12] {
		if c < '0' || c > '9' {
			return errHead
		}
		r.status = r.status*10 + int(c-'0')
	}
	r.closing = h[7] == '0'
	r.length, r.chunked = -1, false
	i := bytes.IndexByte(h, '\n') + 1
	for {
		end := bytes.IndexByte(h[i:], '\r')
		if end < 0 {
			return errHead
		}
		if end == 0 {
			break
		}
		if err := r.field(h[i : i+end]); err != nil {
			return err
		}
		if i+end+2 > len(h) {
			return errHead
		}
		i += end + 2
	}
	switch {
	case r.status < 200 && r.status != 101:
		// Interim: the head that counts follows.
	case r.status == 204 || r.status == 304 || r.bodyless:
		r.part = inBody
	case r.chunked:
		r.part = inChunkSize
	case r.length >= 0:
		r.part, r.remaining = inBody, r.length
	default:
		r.part, r.closing = toClose, true
	}
	return nil
}

func (r *response) field(line []byte) error {
	switch line[0] | 0x20 {
	case 'c':
		if v, ok := value(line, "content-length:"); ok {
			if len(v) == 0 || len(v) > 18 {
				return errHead
			}
			r.length = 0
			for _, c := range v {
				if c < '0' || c > '9' {
					return errHead
				}
				r.length = r.length*10 + int64(c-'0')
			}
		} else if v, ok := value(line, "connection:"); ok && bytes.Contains(bytes.ToLower(v), []byte("close")) {
			r.closing = true
		}
	case 't':
		if v, ok := value(line, "transfer-encoding:"); ok && bytes.EqualFold(v, []byte("chunked")) {
			r.chunked = true
		}
	}
	return nil
}

// value is what follows name (lower case, with its colon) if line begins with it.
func value(line []byte, name string) ([]byte, bool) {
	if len(line) < len(name) {
		return nil, false
	}
	for i := range len(name) {
		c := line[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return nil, false
		}
	}
	return bytes.Trim(line[len(name):], " \t"), true
}

// feedChunkByte takes one byte between chunks.
func (r *response) feedChunkByte(c byte) (done bool, err error) {
	switch r.part {
	case inChunkSize:
		switch {
		case c == '\n':
			if r.digits == 0 {
				return false, errChunk
			}
			r.digits, r.ext = 0, false
			r.part = inChunkData
			if r.remaining == 0 {
				r.part, r.line = inTrailer, 0
			}
		case r.ext || c == '\r':
		case c == ';' || c == ' ' || c == '\t':
			r.ext = true
		default:
			d := hexDigit(c)
			if d < 0 || r.digits == 15 {
				return false, errChunk
			}
			r.digits++
			r.remaining = r.remaining<<4 | int64(d)
		}
	case inChunkEnd:
		if c == '\n' {
			r.part, r.remaining = inChunkSize, 0
		} else if c != '\r' {
			return false, errChunk
		}
	case inTrailer:
		switch c {
		case '\n':
			if r.line == 0 {
				return true, nil
			}
			r.line = 0
		case '\r':
		default:
			r.line++
		}
	}
	return false, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
