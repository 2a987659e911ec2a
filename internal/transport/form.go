package transport

import (
	"bufio"
	"bytes"
	"io"

	"weir/internal/wire"
)

// form is what a sharedConn can do with what it read.
type form uint8

const (
	// formPlain: it is whole, and the connection can go on.
	formPlain form = iota
	// formPart: more may make it plain.
	formPart
	// formOther: it is for the exchange to judge.
	formOther
	// formBad: it is no response; perhaps it belongs to the one before.
	formBad
)

// parse looks at the response that answer begins with.
func (c *sharedConn) parse(answer []byte) (size int, h wire.Head, f form) {
	limit := c.conn.maxHead
	switch err := h.ScanResponse(answer); {
	case err == wire.ErrShort && !bytes.HasPrefix(answer, version[:min(len(answer), len(version))]):
		return 0, h, formBad // it may never end its line
	case err == wire.ErrShort && len(answer) < limit:
		return 0, h, formPart
	case err == wire.ErrShort:
		return 0, h, formOther
	case err != nil:
		return 0, h, formBad
	}
	switch {
	case h.Size > limit, h.Status < 200, h.Minor == 0,
		h.Fields&wire.FieldFraming == wire.FieldFraming,
		h.Fields&wire.FieldConnection != 0 && !keepsAlive(answer[:h.Size], &h):
		return 0, h, formOther
	case h.Status == 204 || h.Status == 304:
		if h.Length > 0 || h.Length == wire.LengthChunked {
			return 0, h, formOther // some send the body all the same
		}
		return h.Size, h, formPlain
	case h.Length == wire.LengthChunked:
		if c.chunked == nil {
			c.chunked = newChunkedEnd()
		}
		n, f := c.chunked.find(answer[h.Size:])
		return h.Size + n, h, f
	case h.Length < 0 || h.Length > int64(readBuffer-h.Size):
		return 0, h, formOther
	}
	size = h.Size + int(h.Length)
	if size > len(answer) {
		return 0, h, formPart
	}
	return size, h, formPlain
}

// version is what every response that a sharedConn delivers begins with.
var version = []byte("HTTP/1.")

// keepsAlive says whether the head's only Connection field is a plain
// "keep-alive".
func keepsAlive(head []byte, h *wire.Head) bool {
	at := bytes.Index(head, keepAlive[0])
	for i := 1; at < 0; i++ {
		if i == len(keepAlive) {
			return false
		}
		at = bytes.Index(head, keepAlive[i])
	}
	next := head[at+len(keepAlive[0])] // of the line after it, or of the empty line
	return h.Twice()&wire.FieldConnection == 0 && next != ' ' && next != '\t'
}

// keepAlive are the usual spellings, all of one length.
var keepAlive = [...][]byte{
	[]byte("\nConnection: keep-alive\r\n"), []byte("\nconnection: keep-alive\r\n"), []byte("\nConnection: Keep-Alive\r\n"),
}

// chunkedEnd finds the end of a chunked body, by the same code that reads it
// later.
type chunkedEnd struct {
	src  bytes.Reader
	br   *bufio.Reader
	body wire.Body
	next [1]byte // to find out that nothing follows
}

func newChunkedEnd() *chunkedEnd { return &chunkedEnd{br: bufio.NewReaderSize(nil, readBuffer)} }

// find returns how long the body is that p begins with, if it is whole.
func (e *chunkedEnd) find(p []byte) (int, form) {
	e.src.Reset(p)
	e.br.Reset(&e.src)
	e.body.Reset(e.br, wire.FramingChunked, 0)
	for {
		switch _, err := e.body.Next(e.next[:]); err {
		case nil:
		case io.EOF:
			return len(p) - e.src.Len() - e.br.Buffered(), formPlain
		case wire.ErrTruncated:
			return 0, formPart
		default:
			return 0, formBad
		}
	}
}
