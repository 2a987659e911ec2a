package http2

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"
	"unsafe"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"weir/internal/body"
	"weir/internal/frames"
	"weir/internal/head"
	"weir/proxy"
)

// block is a header block that is being read. Only the reader uses it.
type block struct {
	kind   blockKind
	id     uint32
	ends   bool // the stream ends with it
	frames int
	since  time.Time
	s      *stream // of a request
	request
	trailer *head.Head
}

type blockKind uint8

const (
	// blockNone: none is being read.
	blockNone blockKind = iota
	blockRequest
	blockTrailer
	// blockRefused: a request beyond the bounds.
	blockRefused
	// blockIgnored: of a stream that weir has ended.
	blockIgnored
)

func (b *block) open() bool { return b.kind != blockNone }

// request is what is known of a request whose head is being read.
type request struct {
	method, scheme, path, authority, protocol string
	pseudo                                    pseudoSet
	// started says that the head has begun: no pseudo-field may follow.
	started bool
	crumbs  []byte
	// list and plain are the sizes so far, as HTTP/2 and HTTP/1.1 count.
	list, plain int
	// malformed is why the stream is reset, defect why the request is answered with an error.
	malformed error
	defect    error
	tooLarge  bool
}

type pseudoSet uint8

const (
	pseudoMethod pseudoSet = 1 << iota
	pseudoScheme
	pseudoPath
	pseudoAuthority
	pseudoProtocol
)

// takeHeaders takes the first frame of a header block.
func (c *conn) takeHeaders(f frames.Headers) error {
	id, ends := f.Stream, f.Flags.Has(h2.FlagHeadersEndStream)
	b := &c.block
	c.mu.Lock()
	kind, err := c.kindOf(id)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	crumbs := b.crumbs[:0]
	*b = block{kind: kind, id: id, ends: ends, since: c.read}
	b.crumbs = crumbs
	if id > c.last {
		c.last = id
	}
	if kind == blockRequest {
		b.s = c.begin(id, ends)
	}
	c.mu.Unlock()
	if kind == blockTrailer {
		b.trailer = new(head.Head)
	}
	if f.DependsOnItself {
		b.malformed = defectDepends
	}
	c.decoder.SetEmitEnabled(kind == blockRequest || kind == blockTrailer)
	return c.takeFragment(f.Block, f.Flags.Has(h2.FlagHeadersEndHeaders))
}

// kindOf says what a header block is for. c.mu is held.
func (c *conn) kindOf(id uint32) (blockKind, error) {
	switch {
	case id%2 == 0:
		return 0, protocolFault("HEADERS of a stream that a client cannot begin")
	case id > c.last && (c.parting == partingLast || c.full()):
		return blockRefused, nil
	case id > c.last:
		return blockRequest, nil
	}
	switch s := c.streams[id]; {
	case s != nil && s.state != streamClosed && !s.in.ended:
		return blockTrailer, nil
	case s != nil && s.state != streamClosed:
		return 0, &fault{h2.ErrCodeStreamClosed, proxy.EndProtocol, "HEADERS after the end of the stream"}
	case s != nil && !s.in.ended, c.recent.find(id) != nil:
		return blockIgnored, nil
	}
	return 0, &fault{h2.ErrCodeStreamClosed, proxy.EndProtocol, "HEADERS of a stream that has ended"}
}

// full says that the client may begin no further stream. c.mu is held.
func (c *conn) full() bool {
	return len(c.streams)-c.answered >= maxStreams || c.answered >= maxAnswered
}

func (c *conn) takeContinuation(f *h2.ContinuationFrame) error {
	if c.block.frames++; c.block.frames > maxContinuations {
		return &fault{h2.ErrCodeEnhanceYourCalm, proxy.EndContinuations, "header list in too many frames"}
	}
	return c.takeFragment(f.HeaderBlockFragment(), f.HeadersEnded())
}

func (c *conn) takeFragment(p []byte, last bool) error {
	_, err := c.decoder.Write(p)
	if err == nil && last {
		err = c.decoder.Close()
	}
	if err != nil {
		return &fault{h2.ErrCodeCompression, proxy.EndProtocol, "malformed header block"}
	}
	if !last {
		return nil
	}
	kind := c.block.kind
	c.block.kind = blockNone
	switch kind {
	case blockRequest:
		return c.finishRequest()
	case blockTrailer:
		return c.finishTrailer()
	case blockRefused:
		return c.refuse()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bounds.idleFrame(c.read) // a block that is ignored
}

// refuse tells the client that a stream was not served, and may be asked for again.
func (c *conn) refuse() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Reset(c.block.id, h2.ErrCodeRefusedStream)
	if !c.block.ends {
		c.recent.add(c.block.id, streamWindow)
	}
	if c.parting == partingLast {
		return nil // the client could not know
	}
	c.listener().CountEnd(proxy.EndStreams)
	return c.bounds.reset(time.Now())
}

// takeField takes a field that was decoded.
func (c *conn) takeField(f hpack.HeaderField) {
	b := &c.block
	b.list += int(f.Size())
	b.plain += len(f.Name) + len(f.Value) + len(": \r\n")
	if b.list > c.list || b.plain > c.plain {
		// What follows is decoded, so that the table stays what the client takes it for, but
		// not looked at.
		b.tooLarge = true
		if f.Name == ":path" && b.path == "" {
			b.path = f.Value // for the access log
		}
		c.decoder.SetEmitEnabled(false)
		return
	}
	switch {
	case b.malformed != nil || b.defect != nil:
	case len(f.Name) == 0 || hasUpper(f.Name):
		b.malformed = defectUpper
	case f.Name[0] == ':' && b.kind == blockTrailer:
		b.malformed = defectLate
	case f.Name[0] == ':':
		b.takePseudo(f)
	case b.kind == blockTrailer:
		b.takeTrailer(f)
	default:
		b.start()
		if b.malformed == nil && b.defect == nil {
			b.takeRegular(f)
		}
	}
}

func hasUpper(name string) bool {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			return true
		}
	}
	return false
}

// takePseudo takes a field that stands for a part of a request line (RFC 9113 section 8.3.1).
func (b *block) takePseudo(f hpack.HeaderField) {
	bit, to := pseudoSet(0), (*string)(nil)
	switch f.Name {
	case ":method":
		bit, to = pseudoMethod, &b.method
	case ":scheme":
		bit, to = pseudoScheme, &b.scheme
	case ":path":
		bit, to = pseudoPath, &b.path
	case ":authority":
		bit, to = pseudoAuthority, &b.authority
	case ":protocol":
		bit, to = pseudoProtocol, &b.protocol
	}
	switch {
	case to == nil:
		b.malformed = defectUnknown
		return
	case b.pseudo&bit != 0:
		b.malformed = defectTwice
		return
	case b.started:
		b.malformed = defectLate
		return
	}
	b.pseudo |= bit
	*to = f.Value
}

var (
	nameHost       = []byte("host")
	nameCookie     = []byte("cookie")
	nameConnection = []byte("connection")
	nameUpgrade    = []byte("upgrade")
)

// What makes a stream be reset, or its request be answered with an error.
var (
	defectDepends  = &head.Defect{Status: 400, Name: "stream depends on itself"}
	defectUpper    = &head.Defect{Status: 400, Name: "field name is empty or has an upper-case letter"}
	defectLate     = &head.Defect{Status: 400, Name: "pseudo-field after a field, or in a trailer section"}
	defectUnknown  = &head.Defect{Status: 400, Name: "unknown pseudo-field"}
	defectTwice    = &head.Defect{Status: 400, Name: "pseudo-field that stands there twice"}
	defectLacks    = &head.Defect{Status: 400, Name: ":method, :scheme or :path is not there before the fields"}
	defectEmpty    = &head.Defect{Status: 400, Name: ":path is empty"}
	defectConnect  = &head.Defect{Status: 400, Name: "CONNECT with :scheme and :path, and without :protocol"}
	defectProtocol = &head.Defect{Status: 400, Name: ":protocol with another method than CONNECT"}
	defectHop      = &head.Defect{Status: 400, Name: "field of a connection of HTTP/1.1, such as Connection or Transfer-Encoding"}
	defectTE       = &head.Defect{Status: 400, Name: "TE is not \"trailers\""}
	defectNoEnd    = &head.Defect{Status: 400, Name: "trailer section that does not end the stream"}
	defectFrame    = &head.Defect{Status: 400, Name: "malformed frame"}
	defectClosed   = &head.Defect{Status: 400, Name: "DATA after the end of the stream"}
	defectWindow   = &head.Defect{Status: 400, Name: "more DATA than the window of the stream"}
	defectWide     = &head.Defect{Status: 400, Name: "window of the stream is too large"}
)

var (
	defectAuthority = &head.Defect{Status: 400, Name: ":authority begins or ends with space"}
	defectHosts     = &head.Defect{Status: 400, Name: "Host is not what :authority says"}
	defectPath      = &head.Defect{Status: 400, Name: ":path is no path"}
	defectLength    = &head.Defect{Status: 400, Name: "Content-Length does not agree with the frames"}
)

// start begins the head, with what the pseudo-fields say.
func (b *block) start() {
	if b.started {
		return
	}
	b.started = true
	const needed = pseudoMethod | pseudoScheme | pseudoPath
	h := &b.s.Request
	method, path := b.method, b.path
	switch b.pseudo & (needed | pseudoProtocol) {
	case needed:
		if method == "CONNECT" {
			b.malformed = defectConnect // RFC 9113 section 8.5
			return
		}
	case needed | pseudoProtocol:
		if method != "CONNECT" {
			b.malformed = defectProtocol // RFC 8441 section 4
			return
		}
		// A target of HTTP/1.1 gets it as a request for an upgrade.
		method, b.s.tunnel = "GET", true
	case pseudoMethod:
		if method != "CONNECT" {
			b.malformed = defectLacks
			return
		}
		path = b.authority
	default:
		b.malformed = defectLacks
		return
	}
	switch {
	case path == "":
		b.malformed = defectEmpty
		return
	case path[0] != '/' && path != "*" && method != "CONNECT":
		b.defect = defectPath
		return
	}
	b.s.isHead = method == "HEAD"
	h.StartRequest(head.HTTP2, bytesOf(method), bytesOf(path))
	switch a := b.authority; {
	case a == "":
	case strings.Trim(a, " \t") != a:
		b.defect = defectAuthority // space around a field's value is no part of it, but this is no field
	default:
		b.defect = h.Fill(nameHost, bytesOf(a))
	}
}

// takeRegular takes a field that is none of HTTP/2's own (RFC 9113 section 8.2).
func (b *block) takeRegular(f hpack.HeaderField) {
	name, value := bytesOf(f.Name), bytesOf(f.Value)
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		b.malformed = defectHop
		return
	case "te":
		if f.Value != "trailers" {
			b.malformed = defectTE
			return
		}
	case "cookie":
		if len(b.crumbs) > 0 {
			b.crumbs = append(b.crumbs, "; "...)
		}
		b.crumbs = append(b.crumbs, value...)
		return
	case "host":
		if b.authority != "" {
			if !b.isAuthority(value) {
				b.defect = defectHosts
			}
			return
		}
	case "priority":
		if b.s.priority == (priority{}) { // a PRIORITY_UPDATE that came before is newer
			b.s.priority = parsePriority(value)
		}
	}
	b.defect = b.s.Request.Fill(name, value)
}

// isAuthority says whether a Host is :authority but for the port that the scheme implies (RFC 9113 section 8.3.1).
func (b *block) isAuthority(host []byte) bool {
	port := []byte(":80")
	if b.scheme == "https" {
		port = []byte(":443")
	}
	return bytes.EqualFold(bytes.TrimSuffix(host, port), bytes.TrimSuffix(bytesOf(b.authority), port))
}

func (b *block) takeTrailer(f hpack.HeaderField) {
	if err := b.trailer.Fill(bytesOf(f.Name), bytesOf(f.Value)); err != nil {
		b.defect = head.DefectTrailer
	}
}

// finish completes the head.
func (b *block) finish() error {
	h := &b.s.Request
	b.start()
	if b.malformed != nil || b.defect != nil {
		return b.defect
	}
	if len(b.crumbs) > 0 {
		if err := h.Fill(nameCookie, b.crumbs); err != nil {
			return err
		}
	}
	if b.s.tunnel {
		if err := b.upgrade(); err != nil {
			return err
		}
	}
	if err := h.FinishRequest(); err != nil {
		return err
	}
	switch {
	case b.s.tunnel:
		// What comes is no body: a target would take the beginning of the next request for it.
		h.SetFraming(head.LengthNone)
	case b.ends && h.Length > 0:
		b.malformed = defectLength // RFC 9113 section 8.1.1
	case !b.ends && h.Length == head.LengthNone:
		h.Length = head.LengthChunked // the end of the stream says how long it is
	}
	return nil
}

// upgrade makes a request for an upgrade of an extended CONNECT (RFC 8441 section 5).
func (b *block) upgrade() error {
	h := &b.s.Request
	var key [16]byte
	rand.Read(key[:])
	if err := h.Fill(nameConnection, []byte("Upgrade")); err != nil {
		return err
	}
	if err := h.Fill(nameUpgrade, bytesOf(b.protocol)); err != nil {
		return err
	}
	if b.protocol != "websocket" {
		return nil
	}
	h.Set(websocketKey, base64.StdEncoding.AppendEncode(nil, key[:])) // in place of one that the client sent
	return nil
}

var websocketKey = head.NewName("sec-websocket-key")

// noBody is the body of all requests without one. It never changes, so that it needs no lock.
var noBody body.Memory

// finishRequest serves the request whose head has come.
func (c *conn) finishRequest() error {
	b := &c.block
	s := b.s
	var err error
	if !b.tooLarge {
		err = b.finish()
	}
	b.s = nil
	s.inline = true
	s.in.start(s.Request.Length)
	if s.tunnel {
		s.in.err = io.EOF // what comes is for the tunnel
	}
	s.Body = &s.in
	if s.in.err == io.EOF {
		s.Body = &noBody
	}
	switch {
	case b.malformed != nil:
		c.note(s)
		c.front.Handler.Refuse(s.Exchange, 0, proxy.CauseBadRequest, b.malformed)
		s.code = h2.ErrCodeProtocol
		s.over()
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.bounds.reset(time.Now())
	case b.tooLarge:
		err = head.DefectHeadSize
		if len(b.path) > c.plain/2 {
			err = head.DefectLineSize
		}
	}
	if d, ok := errors.AsType[*head.Defect](err); ok {
		c.note(s)
		c.front.Handler.Refuse(s.Exchange, d.Status, proxy.CauseOf(d), err)
		s.over()
		return nil
	}
	c.mu.Lock()
	s.client.Room = max(1, min(s.window, c.window, int64(frames.Gathered-len(c.Out))))
	c.mu.Unlock()
	if s.rest = c.front.Handler.ServeNow(s.Exchange); s.rest == nil {
		s.over()
		return nil
	}
	s.inline = false
	c.later = append(c.later, s)
	return nil
}

// note makes a request that is refused known to the access log.
func (c *conn) note(s *stream) {
	b := &c.block
	s.isHead = b.method == "HEAD"
	s.Request.StartRequest(head.HTTP2, bytesOf(b.method), nil)
	s.RequestTarget = append(s.RequestTarget[:0], b.path...)
	s.tunnel = false
}

// finishTrailer takes a trailer section.
func (c *conn) finishTrailer() error {
	b := &c.block
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[b.id]
	if s == nil || s.state == streamClosed {
		return nil
	}
	switch {
	case b.malformed != nil:
		return c.resetFor(b.id, h2.ErrCodeProtocol, b.malformed)
	case !b.ends:
		return c.resetFor(b.id, h2.ErrCodeProtocol, defectNoEnd)
	case b.tooLarge:
		s.in.fail(head.DefectHeadSize)
	case b.defect != nil:
		s.in.fail(b.defect)
	default:
		s.in.trailer = b.trailer
	}
	if !s.in.take(nil, true) {
		s.in.fail(defectLength)
		return c.resetFor(b.id, h2.ErrCodeProtocol, defectLength)
	}
	return nil
}

// bytesOf returns the bytes of s, which are only read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
