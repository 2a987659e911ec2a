package proxy

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"io"

	"weir/internal/body"
	"weir/internal/field"
	"weir/internal/head"
)

// webCall is a call of gRPC-Web, as browsers make it, which targets get as one of gRPC: messages are the
// same in both, but the status and what else is in the trailer section comes as a last frame in
// the body, and a text form has all of a body in base64.
type webCall struct {
	// suffix is the rest of the request's content type, such as "+proto".
	suffix []byte
	// textIn and textOut say that the bodies are in base64.
	textIn, textOut bool
	request         webRequest
	response        webResponse
}

const (
	typeGRPC    = "application/grpc"
	typeWeb     = "application/grpc-web"
	typeWebText = "application/grpc-web-text"
)

// webType takes the content type of a message apart.
func webType(value []byte) (suffix []byte, text, ok bool) {
	for _, name := range [...]string{typeWebText, typeWeb} {
		if len(value) < len(name) || !field.EqualFold(value[:len(name)], name) {
			continue
		}
		if rest := value[len(name):]; len(rest) == 0 || rest[0] == '+' || rest[0] == ';' {
			return rest, name == typeWebText, true
		}
	}
	return nil, false, false
}

// translateWeb makes the exchange a gRPC call if it is one of gRPC-Web.
func (x *Exchange) translateWeb() {
	q := &x.Request
	suffix, text, ok := webType(q.Get(head.ContentType))
	if !ok || string(q.Method()) != "POST" {
		return
	}
	x.grpc = true
	w := &webCall{suffix: suffix, textIn: text, textOut: text}
	x.web = w
	for item := range field.Tokens(q.Joined(accept)) {
		if _, text, ok := webType(item); ok {
			w.textOut = text
			break
		}
	}
	if w.textIn {
		w.request.src = x.Body
		x.Body = &w.request
	}
}

var accept = head.NewName("Accept")

// prepare makes h, the head that targets get, that of a gRPC call.
func (w *webCall) prepare(h *head.Head) {
	h.Set(head.ContentType, append([]byte(typeGRPC), w.suffix...))
	h.Set(head.TE, []byte("trailers"))
	h.Del(accept)
}

// answer makes the response one of gRPC-Web. It returns what delivers the body then, and its length.
func (w *webCall) answer(x *Exchange, src body.Source, length int64) (body.Source, int64) {
	h := x.Response
	if !isGRPC(h) {
		return src, length // it says by its status of HTTP what is wrong
	}
	kind := typeWeb
	if w.textOut {
		kind = typeWebText
	}
	h.Set(head.ContentType, append([]byte(kind), h.Get(head.ContentType)[len(typeGRPC):]...))
	said := grpcStatusOf(h) != 0
	if said && src.Done() {
		return src, length // the head is all there is
	}
	h.Del(head.ContentLength)
	h.Del(head.Trailer)
	w.response = webResponse{src: src, text: w.textOut, said: said}
	return &w.response, -1
}

// errBase64 ends a request whose text is not base64.
var errBase64 = &head.Defect{Status: 400, Name: "malformed base64 in a body of gRPC-Web"}

// webRequest is the Source of a request's body in base64. The text may be several ones, each with
// its own padding.
type webRequest struct {
	src body.Source
	// text is what came and is not decoded yet, and after Next the start of four characters.
	text, out []byte
	seen      int64
	err       error
}

// Next implements body.Source.
func (w *webRequest) Next(buf []byte) ([]byte, error) {
	for w.err == nil {
		w.out = w.out[:0]
		p, err := w.src.Next(buf)
		switch {
		case err == body.ErrPaused:
			return nil, err // the body goes on later
		case err != nil && !w.src.Done():
			w.err = err
		case err == nil:
			w.err = w.decode(p)
		}
		if w.err == nil && w.src.Done() && len(w.text) > 0 {
			w.err = errBase64
		}
		switch {
		case w.err != nil:
		case len(w.out) > 0:
			w.seen += int64(len(w.out))
			return w.out, nil
		case w.src.Done():
			return nil, io.EOF
		}
	}
	return nil, w.err
}

// decode appends to out the bytes that p, after what was left of the text before, stands for.
func (w *webRequest) decode(p []byte) error {
	w.text = append(w.text, p...)
	whole := len(w.text) &^ 3
	for at := 0; at < whole; {
		end := whole
		if i := bytes.IndexByte(w.text[at:whole], '='); i >= 0 {
			end = at + i&^3 + 4
		}
		part := w.text[at:end]
		if bytes.ContainsAny(part, "\r\n") { // which the decoder would ignore
			return errBase64
		}
		var err error
		if w.out, err = base64.StdEncoding.AppendDecode(w.out, part); err != nil {
			return errBase64
		}
		at = end
	}
	w.text = append(w.text[:0], w.text[whole:]...)
	return nil
}

// Ready implements body.Source.
func (w *webRequest) Ready() bool { return w.err != nil || w.src.Ready() }

// Left implements body.Source.
func (w *webRequest) Left() int64 { return -1 }

// Seen implements body.Source.
func (w *webRequest) Seen() int64 { return w.seen }

// Whole implements body.Source.
func (w *webRequest) Whole() bool { return w.src.Whole() }

// Done implements body.Source.
func (w *webRequest) Done() bool { return w.err == nil && w.src.Done() }

// Proven implements body.Source.
func (w *webRequest) Proven() bool { return w.err == nil && w.src.Proven() }

// Trailer implements body.Source.
func (w *webRequest) Trailer() *head.Head { return w.src.Trailer() }

// Kernel implements body.Source.
func (w *webRequest) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (w *webRequest) Moved(int64) { panic("BUG: bytes of base64 cannot be moved inside the kernel") }

// webResponse is the Source of a response's body, with the trailer section as its last frame.
type webResponse struct {
	src body.Source
	// said says that the head has the status already.
	said bool
	text bool
	// rest is what is left of the piece that src delivered last, short the bytes before it that do not fill
	// four characters.
	rest, out []byte
	short     [3]byte
	shorts    int
	seen      int64
	done      bool
	// missing stands for the trailer section of a target that sent none.
	missing *head.Head
}

// Next implements body.Source.
func (w *webResponse) Next(buf []byte) ([]byte, error) {
	for {
		var out []byte
		switch {
		case w.done:
			return nil, io.EOF
		case len(w.rest) > 0:
			p := w.rest[:min(len(w.rest), maxPiece)]
			w.rest = w.rest[len(p):]
			out = w.encode(p, false)
		case w.src.Done():
			w.done = true
			out = w.end()
		case w.shorts > 0 && !w.src.Ready():
			out = w.encode(nil, true) // so that the client has whole messages
		default:
			p, err := w.src.Next(buf)
			if err != nil && !(err == io.EOF && w.src.Done()) {
				return nil, err
			}
			if w.text {
				w.rest = p
			} else {
				out = p
			}
		}
		if len(out) > 0 {
			w.seen += int64(len(out))
			return out, nil
		}
	}
}

// encode returns p, after what was left before, in base64. Without end it keeps what does not fill four
// characters.
func (w *webResponse) encode(p []byte, end bool) []byte {
	w.out = w.out[:0]
	if w.shorts > 0 {
		n := copy(w.short[w.shorts:], p)
		p = p[n:]
		if w.shorts += n; w.shorts < len(w.short) && !end {
			return nil
		}
		w.out = base64.StdEncoding.AppendEncode(w.out, w.short[:w.shorts])
		w.shorts = 0
	}
	if !end {
		whole := len(p) - len(p)%3
		w.shorts = copy(w.short[:], p[whole:])
		p = p[:whole]
	}
	w.out = base64.StdEncoding.AppendEncode(w.out, p)
	return w.out
}

// end is the last frame: the lines of the trailer section (in the manner of HTTP/1.1, without an empty
// one), with its names in lower case.
func (w *webResponse) end() []byte {
	t := w.Trailer()
	frame := []byte{0x80, 0, 0, 0, 0} // the flag of a trailer section and its length
	if t != nil {
		for f := range t.All() {
			if !head.MayTrail(f.Name) {
				continue
			}
			at := len(frame)
			frame = append(frame, f.Name...)
			field.LowerAll(frame[at:])
			frame = append(append(append(frame, ": "...), f.Value...), "\r\n"...)
		}
	}
	switch {
	case len(frame) == 5 && w.said:
		frame = nil
	default:
		binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5))
	}
	if w.text {
		return w.encode(frame, true)
	}
	return frame
}

// Ready implements body.Source.
func (w *webResponse) Ready() bool {
	return len(w.rest) > 0 || w.shorts > 0 || w.src.Done() || w.src.Ready()
}

// Left implements body.Source.
func (w *webResponse) Left() int64 { return -1 }

// Seen implements body.Source.
func (w *webResponse) Seen() int64 { return w.seen }

// Whole implements body.Source.
func (w *webResponse) Whole() bool { return w.done }

// Done implements body.Source.
func (w *webResponse) Done() bool { return w.done }

// Proven implements body.Source.
func (w *webResponse) Proven() bool { return w.done && w.src.Proven() }

// Trailer implements body.Source: the target's trailer section, or what stands for it if the target ended
// the call without a status. The client gets it in the body.
func (w *webResponse) Trailer() *head.Head {
	t := w.src.Trailer()
	if w.said || grpcStatusOf(t) != 0 || !w.src.Done() {
		return t
	}
	if w.missing == nil {
		w.missing = new(head.Head)
		w.missing.Add(grpcStatusName, []byte("13"))
		w.missing.Add(grpcMessageName, []byte("weir: the target sent no status"))
	}
	return w.missing
}

// Kernel implements body.Source.
func (w *webResponse) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (w *webResponse) Moved(int64) { panic("BUG: bytes of gRPC-Web cannot be moved inside the kernel") }
