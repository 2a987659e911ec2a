package adapt

import (
	"bufio"
	"bytes"
	"fmt"

	"github.com/valyala/fasthttp"

	"weir/internal/head"
)

// FastHTTP makes fasthttp's headers of heads. It keeps its buffers: the zero value is ready, and
// one goroutine may use it at a time.
//
// The heads go through fasthttp's own parser, so that a handler finds what a server of
// fasthttp would give it: lines in their order, Date and Transfer-Encoding included. Names are
// normalized unless DisableNormalizing was called on dst.
type FastHTTP struct {
	text []byte
	in   bytes.Reader
	buf  *bufio.Reader
}

// Request makes dst what h is. It returns an error if fasthttp refuses the head: an empty
// Host, or a Trailer field that announces a field that no trailer section may have.
func (c *FastHTTP) Request(h *head.Head, dst *fasthttp.RequestHeader) error {
	if err := dst.Read(c.reader(h)); err != nil {
		return fmt.Errorf("cannot make a request head of fasthttp: %w", err)
	}
	return nil
}

// Response makes dst what h is, without a Content-Type if h has none. It returns an error if
// fasthttp refuses the head, as Request does.
func (c *FastHTTP) Response(h *head.Head, dst *fasthttp.ResponseHeader) error {
	if err := dst.Read(c.reader(h)); err != nil {
		return fmt.Errorf("cannot make a response head of fasthttp: %w", err)
	}
	dst.SetNoDefaultContentType(true)
	return nil
}

// reader returns a reader of the head as text.
func (c *FastHTTP) reader(h *head.Head) *bufio.Reader {
	c.text = h.AppendTo(c.text[:0])
	c.in.Reset(c.text)
	if c.buf == nil || c.buf.Size() < len(c.text) {
		c.buf = bufio.NewReaderSize(&c.in, 2*len(c.text))
	}
	c.buf.Reset(&c.in)
	return c.buf
}

// FillRequest makes h what src is, by the checks of head.Fill: it returns nil or a
// *head.Defect. The fields come in the order of src.All, which begins with those that
// fasthttp keeps apart; the lines of Cookie become one.
func FillRequest(h *head.Head, src *fasthttp.RequestHeader) error {
	h.StartRequest(head.HTTP11, src.Method(), src.RequestURI())
	for name, value := range src.All() {
		if err := h.Fill(name, value); err != nil {
			return err
		}
	}
	return h.FinishRequest()
}

// FillResponse does the same for a response. Each Set-Cookie keeps its line. It calls
// SetNoDefaultContentType on src, so that only a Content-Type that the handler set is there.
func FillResponse(h *head.Head, src *fasthttp.ResponseHeader) error {
	src.SetNoDefaultContentType(true)
	h.StartResponse(src.StatusCode())
	h.SetPhrase(src.StatusMessage())
	for name, value := range src.All() {
		if err := h.Fill(name, value); err != nil {
			return err
		}
	}
	return nil
}
