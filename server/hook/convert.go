package hook

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"
)

// Header returns the fields of h as net/http has them, with the values of each name in their
// order. It includes Host, which net/http keeps in Request.Host. It is a copy: to change h, use
// its methods. There is no way back on purpose, because such a header knows neither the order
// of all lines nor the case of names, which a Head keeps.
func Header(h Head) http.Header {
	header := make(http.Header)
	for name, value := range h.All() {
		header.Add(name, value)
	}
	return header
}

// FastHTTPRequest makes dst a copy of the request h, as a server of fasthttp that got it would
// have it. It returns an error if fasthttp refuses the head: one with an empty Host, or with a Trailer
// field that announces what no trailer section may have. dst is then of no use.
func FastHTTPRequest(h Head, dst *fasthttp.RequestHeader) error {
	if err := dst.Read(asText(h.Method()+" "+h.Target()+" HTTP/1.1", h)); err != nil {
		return fmt.Errorf("cannot make a request head of fasthttp: %w", err)
	}
	return nil
}

// FastHTTPResponse does the same with a response, whose reason phrase becomes the usual one. A
// response without a Content-Type gets none.
func FastHTTPResponse(h Head, dst *fasthttp.ResponseHeader) error {
	status := h.Status()
	if err := dst.Read(asText("HTTP/1.1 "+strconv.Itoa(status)+" "+fasthttp.StatusMessage(status), h)); err != nil {
		return fmt.Errorf("cannot make a response head of fasthttp: %w", err)
	}
	dst.SetNoDefaultContentType(true)
	return nil
}

// asText returns a reader of a head as HTTP/1.1 has it. fasthttp's parser wants all of it in
// the buffer.
func asText(first string, h Head) *bufio.Reader {
	text := append([]byte(first), "\r\n"...)
	for name, value := range h.All() {
		text = append(append(append(append(text, name...), ": "...), value...), "\r\n"...)
	}
	text = append(text, "\r\n"...)
	return bufio.NewReaderSize(bytes.NewReader(text), len(text))
}
