package proxy

import (
	"bytes"
	"io"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/body"
	"weir/internal/encode"
	"weir/internal/field"
	"weir/internal/head"
)

// compression is how a route compresses responses; nil is not at all.
type compression struct {
	codings     []encode.Coding
	types       []field.Pattern
	minSize     int64
	credentials bool
}

// newCompression compiles what a route says, or, if that is nil, what all do.
func newCompression(route, all *config.Compress) *compression {
	if route == nil {
		route = all
	}
	if route == nil || !route.Enabled {
		return nil
	}
	c := &compression{types: field.Patterns(route.Types), minSize: int64(route.MinSize), credentials: route.Credentials}
	for _, name := range route.Codings {
		c.codings = append(c.codings, encode.Named(name))
	}
	return c
}

// ignoreDateRange makes a request for a part, if nothing but a date says of what, one for all:
// the client may have the start of a compressed body, of which there are no parts.
func (x *Exchange) ignoreDateRange() verdict {
	h := &x.Request
	v := h.Get(head.IfRange)
	if len(v) > 0 && v[0] != '"' && v[0] != 'W' && encode.Choose(h, x.Route.compress.codings) != encode.Identity {
		h.Del(head.Range)
		h.Del(head.IfRange)
	}
	return goOn
}

// compress compresses the response that src delivers, if the route does that, the response is
// one of those and the client accepts it. It returns what delivers the body then, and its
// length.
func (x *Exchange) compress(src body.Source, length int64, bodyless bool) (body.Source, int64) {
	c, h := x.Route.compress, x.Response
	size, kind := length, h.Get(head.ContentType)
	switch {
	case h.Status == 304 && x.weakenAsClient():
		varyBy(h, "Accept-Encoding")
		return src, length
	case h.Status == 304:
		size, kind = x.unmodified()
	case h.Status == 206:
		_, size, _ = rule.ParseContentRange(h.Get(head.ContentRange))
	case bodyless:
		size = h.Length
	}
	if !c.covers(x, size, kind) {
		return src, length
	}
	varyBy(h, "Accept-Encoding")
	if h.Status == 304 || h.Status == 206 {
		return src, length // of the response to a GET for all, which varies
	}
	coding := encode.Choose(&x.Request, c.codings)
	if coding == encode.Identity {
		return src, length
	}
	switch {
	case x.cached.whole && !x.taps.watched(ToClient):
		b := x.proxy.cache.Encoded(x.cached.found.Entry, int(coding)-1, func(body []byte) []byte { return encode.All(coding, body) })
		if b == nil {
			return src, length
		}
		length = int64(len(b))
		if !bodyless {
			x.room.memory.Reset(b)
			src = &x.room.memory
			x.Route.metrics.compressed(coding, size, length)
		}
	case bodyless:
		length = -1
	default:
		e := encode.New(coding)
		if e == nil {
			return src, length
		}
		x.encoded = &encoded{x: x, src: src, encoder: e, coding: coding}
		src, length = x.encoded, -1
	}
	h.Del(head.ContentLength)
	h.DelFunc(func(f head.Field) bool { return field.EqualFold(f.Name, "accept-ranges") || aboutBytes(f.Name) })
	h.Set(head.ContentEncoding, []byte(coding.String()))
	if tag := h.Get(head.ETag); strong(tag) {
		h.Set(head.ETag, append([]byte("W/"), tag...))
	}
	return src, length
}

// aboutBytes says whether a field is a digest of the bytes of a body or representation (RFC
// 9530), which are others once they are compressed.
func aboutBytes(name []byte) bool {
	for _, n := range [...]string{"content-md5", "digest", "content-digest", "repr-digest"} {
		if field.EqualFold(name, n) {
			return true
		}
	}
	return false
}

func strong(tag []byte) bool { return len(tag) > 0 && tag[0] == '"' }

// weakenAsClient makes the entity tag of a 304 the weak one that the client has: with it the
// client knows which of its answers is meant (RFC 9111 section 4.3.4). It says whether the client has that one.
func (x *Exchange) weakenAsClient() bool {
	h := x.Response
	tag := h.Get(head.ETag)
	if !strong(tag) {
		return false
	}
	weak := append([]byte("W/"), tag...)
	for list := x.Request.Joined(head.IfNoneMatch); ; {
		item, rest, more := field.NextTag(list)
		if !more {
			return false
		}
		if list = rest; bytes.Equal(item, weak) {
			h.Set(head.ETag, weak)
			return true
		}
	}
}

// unmodified returns the length and the type of what a 304 is about, as far as they are known: -1 and
// nothing without an entry, but for what the 304 says itself.
func (x *Exchange) unmodified() (size int64, kind []byte) {
	if e := x.cached.found.Entry; e != nil && len(e.Fields().Get("Content-Encoding")) == 0 {
		return e.Length, e.Fields().Get("Content-Type")
	}
	return -1, x.Response.Get(head.ContentType)
}

// covers says whether the response is one that the route compresses, for clients that accept it. size
// and kind are the length, -1 if it is not known, and the type of all that the response, which may be
// a 206 or a 304, has a part of or is about.
func (c *compression) covers(x *Exchange, size int64, kind []byte) bool {
	h := x.Response
	switch h.Status {
	case 204, 205, 416:
		return false
	}
	switch {
	case h.Status < 200, size >= 0 && size < c.minSize:
		return false
	case len(h.Get(head.ContentEncoding)) > 0, len(h.Get(head.ContentRange)) > 0 && h.Status != 206:
		return false
	case field.HasToken(h.Joined(head.CacheControl), "no-transform"):
		return false // RFC 9111 section 5.2.2.6
	case !c.credentials && x.secret():
		return false
	}
	kind, _, _ = bytes.Cut(kind, []byte{';'})
	kind = bytes.ToLower(field.Trim(kind))
	return len(kind) > 0 && field.MatchAny(c.types, kind)
}

var credentials = head.SetOf(head.Cookie, head.Authorization)

// secret says whether the response may be for one client alone. What is stored is not.
func (x *Exchange) secret() bool {
	r := &x.Result.Cache
	return len(x.Response.Get(head.SetCookie)) > 0 || x.Request.Has(credentials) && !r.Answered && !r.Stored
}

// encoded is the Source of a body that is compressed while it passes. What was written is
// flushed before it waits for more.
type encoded struct {
	x       *Exchange
	src     body.Source
	encoder *encode.Encoder
	coding  encode.Coding
	rest    []byte // of what src delivered last
	in, out int64
	done    bool
}

// end gives back what e holds, and counts.
func (e *encoded) end() {
	e.x.Route.metrics.compressed(e.coding, e.in, e.out)
	e.encoder.Release()
	e.x.encoded = nil
}

// maxPiece is how much is compressed at once.
const maxPiece = copyBuffer

// Next implements body.Source.
func (e *encoded) Next(buf []byte) ([]byte, error) {
	for {
		var out []byte
		switch {
		case e.done:
			return nil, io.EOF
		case len(e.rest) > 0:
			p := e.rest[:min(len(e.rest), maxPiece)]
			e.rest = e.rest[len(p):]
			e.in += int64(len(p))
			out = e.encoder.Write(p)
		case e.src.Done():
			e.done = true
			out = e.encoder.End()
		case !e.src.Ready() && e.encoder.Pending():
			out = e.encoder.Flush()
		default:
			p, err := e.src.Next(buf)
			if err != nil && !(err == io.EOF && e.src.Done()) {
				return nil, err
			}
			e.x.taps.see(ToClient, p) // as it was before
			e.rest = p
		}
		if len(out) > 0 {
			e.out += int64(len(out))
			return out, nil
		}
	}
}

// Ready implements body.Source.
func (e *encoded) Ready() bool {
	return len(e.rest) > 0 || e.src.Done() || e.src.Ready() || e.encoder.Pending()
}

// Left implements body.Source.
func (e *encoded) Left() int64 { return -1 }

// Seen implements body.Source.
func (e *encoded) Seen() int64 { return e.out }

// Whole implements body.Source.
func (e *encoded) Whole() bool { return e.done }

// Done implements body.Source.
func (e *encoded) Done() bool { return e.done }

// Proven implements body.Source.
func (e *encoded) Proven() bool { return e.done && e.src.Proven() }

// Trailer implements body.Source.
func (e *encoded) Trailer() *head.Head { return e.src.Trailer() }

// Kernel implements body.Source.
func (e *encoded) Kernel() body.Kernel { return body.Kernel{} }

// Moved implements body.Source.
func (e *encoded) Moved(int64) {}
