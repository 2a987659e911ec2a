package transport

import (
	"bufio"
	"bytes"
	"io"

	"weir/internal/body"
	"weir/internal/head"
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
func (c *sharedConn) parse(answer []byte) (size int, f form) {
	h, limit := &c.head, c.conn.maxHead
	h.Reset()
	switch err := h.ScanResponse(answer); {
	case err == head.ErrShort && !bytes.HasPrefix(answer, version[:min(len(answer), len(version))]):
		return 0, formBad // it may never end its line
	case err == head.ErrShort && len(answer) < limit:
		return 0, formPart
	case err == head.ErrShort:
		return 0, formOther
	case err != nil:
		return 0, formBad
	}
	switch {
	case h.Size > limit, h.Status < 200, h.Version == head.HTTP10,
		h.Present()&head.Framing == head.Framing,
		h.Has(connection) && !keepsAlive(h):
		return 0, formOther
	case h.Status == 204 || h.Status == 304:
		if h.Length > 0 || h.Length == head.LengthChunked {
			return 0, formOther // some send the body all the same
		}
		return h.Size, formPlain
	case h.Length == head.LengthChunked:
		if c.chunked == nil {
			c.chunked = newChunkedEnd()
		}
		n, f := c.chunked.find(answer[h.Size:])
		return h.Size + n, f
	case h.Length < 0 || h.Length > int64(readBuffer-h.Size):
		return 0, formOther
	}
	size = h.Size + int(h.Length)
	if size > len(answer) {
		return 0, formPart
	}
	return size, formPlain
}

// version is what every response that a sharedConn delivers begins with.
var version = []byte("HTTP/1.")

var connection = head.SetOf(head.Connection)

// keepsAlive says whether Connection is a plain "keep-alive".
func keepsAlive(h *head.Head) bool {
	return h.Repeated()&connection == 0 && bytes.EqualFold(h.Get(head.Connection), []byte("keep-alive"))
}

// chunkedEnd finds the end of a chunked body, by the same code that reads it
// later.
type chunkedEnd struct {
	src  bytes.Reader
	br   *bufio.Reader
	body body.Reader
	next [1]byte // to find out that nothing follows
}

func newChunkedEnd() *chunkedEnd { return &chunkedEnd{br: bufio.NewReaderSize(nil, readBuffer)} }

// find returns how long the body is that p begins with, if it is whole.
func (e *chunkedEnd) find(p []byte) (int, form) {
	e.src.Reset(p)
	e.br.Reset(&e.src)
	e.body.Reset(e.br, body.FramingChunked, 0)
	for {
		switch _, err := e.body.Next(e.next[:]); err {
		case nil:
		case io.EOF:
			return len(p) - e.src.Len() - e.br.Buffered(), formPlain
		case body.ErrTruncated:
			return 0, formPart
		default:
			return 0, formBad
		}
	}
}
