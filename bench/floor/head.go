package floor

import "bytes"

// head is what edit found out about a message head.
type head struct {
	out    []byte // the edited head, without the empty line that ends it
	host   []byte // the value of Host; nil if there is none
	length int    // the value of Content-Length; -1 if there is none
	size   int    // bytes of the head as it came; 0 if it is incomplete or has another framing
}

// edit appends the head at the start of message to dst, without the fields that
// are for one hop only. Lines that are next to each other are copied at once.
func edit(dst, message []byte) head {
	h := head{length: -1}
	from := 0 // where the lines begin that are not copied yet
	at := bytes.IndexByte(message, '\n') + 1
	for at > 0 {
		n := bytes.IndexByte(message[at:], '\n') + 1
		if n == 0 {
			break
		}
		line := message[at : at+n]
		if len(line) <= 2 {
			h.out, h.size = append(dst, message[from:at]...), at+n
			return h
		}
		switch h.field(line) {
		case dropped:
			dst = append(dst, message[from:at]...)
			from = at + n
		case refused:
			return head{length: -1}
		}
		at += n
	}
	return head{length: -1}
}

// verdict is what becomes of a field.
type verdict uint8

const (
	kept verdict = iota
	dropped
	refused
)

// field looks at one line. Most names are told apart by their first letter.
func (h *head) field(line []byte) verdict {
	switch line[0] | 0x20 {
	case 'h':
		if v, ok := value(line, "host:"); ok {
			h.host = v
		}
	case 'c':
		if v, ok := value(line, "content-length:"); ok {
			return h.setLength(v)
		}
		if _, ok := value(line, "connection:"); ok {
			return dropped
		}
	case 'k', 'p', 'u':
		for _, name := range []string{"keep-alive:", "proxy-connection:", "upgrade:"} {
			if _, ok := value(line, name); ok {
				return dropped
			}
		}
	case 't':
		if _, ok := value(line, "te:"); ok {
			return dropped
		}
		if _, ok := value(line, "transfer-encoding:"); ok {
			return refused
		}
	}
	return kept
}

func (h *head) setLength(digits []byte) verdict {
	h.length = 0
	for _, c := range digits {
		if c < '0' || c > '9' || h.length > MaxResponse {
			return refused
		}
		h.length = h.length*10 + int(c-'0')
	}
	return kept
}

// value returns what follows name (in lower case, with its colon) if line begins
// with it, without white space around it.
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
	return bytes.TrimSpace(line[len(name):]), true
}
