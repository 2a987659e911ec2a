package wire

import (
	"bytes"
	"errors"
)

// ErrShort says that a head is not complete yet: read more and scan again.
var ErrShort = errors.New("head is not complete")

// Defect is a named reason why a message is refused. Defects are compared by
// identity.
type Defect struct {
	// Status is what a client is told (RFC 9110 section 15). A target's
	// message with a defect becomes a 502 whatever stands here.
	Status int
	// Name is a short, stable name for logs.
	Name string
}

func (d *Defect) Error() string { return d.Name }

// The defects of heads and chunked bodies. Control bytes in values are left to
// the parser, which refuses them.
var (
	DefectBareLF          = &Defect{400, "line feed without carriage return"}
	DefectRequestLine     = &Defect{400, "malformed request line"}
	DefectStatusLine      = &Defect{400, "malformed status line"}
	DefectVersion         = &Defect{505, "HTTP version is neither 1.0 nor 1.1"}
	DefectMethod          = &Defect{400, "method is not a token"}
	DefectTunnelMethod    = &Defect{405, "method CONNECT or TRACE"}
	DefectTarget          = &Defect{400, "malformed request target"}
	DefectEmptyLines      = &Defect{400, "too many empty lines before the request line"}
	DefectFold            = &Defect{400, "folded header line"}
	DefectNoColon         = &Defect{400, "header line without colon"}
	DefectName            = &Defect{400, "field name is not a token"}
	DefectLength          = &Defect{400, "malformed Content-Length"}
	DefectTwoLengths      = &Defect{400, "more than one Content-Length"}
	DefectLengthAndCoding = &Defect{400, "Content-Length and Transfer-Encoding together"}
	DefectTwoCodings      = &Defect{400, "more than one Transfer-Encoding"}
	DefectCoding          = &Defect{400, "malformed Transfer-Encoding"}
	DefectUnknownCoding   = &Defect{501, "unknown transfer coding"}
	DefectCodingIn10      = &Defect{400, "Transfer-Encoding in HTTP/1.0"}
	DefectNoLength        = &Defect{411, "HTTP/1.0 request with a body method but no Content-Length"}
	DefectNoHost          = &Defect{400, "no Host field"}
	DefectTwoTypes        = &Defect{400, "more than one Content-Type"}
	DefectTwoHosts        = &Defect{400, "more than one Host field"}
	DefectHost            = &Defect{400, "malformed Host"}
	DefectTrailer         = &Defect{400, "malformed trailer section"}
	DefectChunk           = &Defect{400, "malformed chunk"}
	DefectChunkOverhead   = &Defect{400, "too much chunk overhead"}
	DefectTrailerSize     = &Defect{431, "trailer section is too large"}
	DefectHeadSize        = &Defect{431, "head is too large"}
	DefectLineSize        = &Defect{414, "request line is too long"}
)

// Lengths that are no number of bytes.
const (
	// LengthNone means that the head names no length.
	LengthNone = -2
	// LengthChunked means chunked transfer coding.
	LengthChunked = -1
)

// maxLength bounds Content-Length: 18 digits always fit an int64.
const maxLengthDigits = 18

// maxEmptyLines is how many empty lines may precede a request line
// (RFC 9112 section 2.2 asks for at least one).
const maxEmptyLines = 4

// Head is what a scan found out about a raw head, and where to go on when more
// bytes have arrived. The zero value is ready for the first scan of a message.
// It keeps no reference to the scanned bytes.
type Head struct {
	// Size is the number of bytes of the head, with leading empty lines and
	// the empty line at its end; valid after a scan returned nil.
	Size int
	// Length is the Content-Length, LengthChunked or LengthNone.
	Length int64
	// Fields says which fields of interest are present.
	Fields Fields
	// Minor is the minor HTTP version: 0 or 1.
	Minor uint8
	// Status is the status code of a response.
	Status int

	first    int // where the first line of a request ends
	off      int // start of the first line not yet scanned
	line     int // lines scanned, the first line included
	empty    int
	bodyVerb bool // POST, PUT or PATCH
	authTgt  bool // absolute-form: Host may be checked against it
	twice    Fields
	last     Fields // the field of interest that the last line began; 0 for others
}

// LineWithin reports whether a request's first line, with the empty lines before
// it, has been seen whole and is at most n bytes long.
func (h *Head) LineWithin(n int) bool { return h.line > 0 && h.first <= n }

// ScanRequest checks the raw request head at the start of buf by RFC 9112,
// stricter than it where leniency lets two programs read one message in two
// ways. It returns nil when the head is whole and sound, ErrShort when more
// bytes are needed, or a *Defect. Scanning goes on where it stopped, so that a
// head that trickles in costs linear time.
func (h *Head) ScanRequest(buf []byte) error {
	if h.off == 0 {
		h.Length = LengthNone
	}
	for {
		line, err := h.nextLine(buf)
		if err != nil {
			return err
		}
		switch {
		case len(line) == 0 && h.line == 0:
			if h.empty++; h.empty > maxEmptyLines {
				return DefectEmptyLines
			}
			continue
		case len(line) == 0:
			h.Size = h.off
			return h.finishRequest()
		case h.line == 0:
			err = h.requestLine(line)
		default:
			err = h.fieldLine(line, true)
		}
		if err != nil {
			return err
		}
		if h.line++; h.line == 1 {
			h.first = h.off
		}
	}
}

// ScanResponse does the same for a response head. Space before the colon, and
// folded lines where they do not say where the message ends, are left to the
// parser, which repairs them as RFC 9112 section 5 allows a proxy to.
func (h *Head) ScanResponse(buf []byte) error {
	if h.off == 0 {
		h.Length = LengthNone
	}
	for {
		line, err := h.nextLine(buf)
		if err != nil {
			return err
		}
		switch {
		case h.line == 0:
			err = h.statusLine(line)
		case len(line) == 0:
			h.Size = h.off
			return nil
		default:
			err = h.fieldLine(line, false)
		}
		if err != nil {
			return err
		}
		h.line++
	}
}

// nextLine returns the next line without its CRLF and moves behind it.
func (h *Head) nextLine(buf []byte) ([]byte, error) {
	n := bytes.IndexByte(buf[h.off:], '\n')
	if n < 0 {
		return nil, ErrShort
	}
	if n == 0 || buf[h.off+n-1] != '\r' {
		return nil, DefectBareLF
	}
	line := buf[h.off : h.off+n-1]
	h.off += n + 1
	return line, nil
}

func (h *Head) requestLine(line []byte) error {
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 {
		return DefectRequestLine
	}
	method, rest := line[:sp], line[sp+1:]
	for _, c := range method {
		if !tokenByte[c] {
			return DefectMethod
		}
	}
	sp = bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return DefectRequestLine
	}
	target, version := rest[:sp], rest[sp+1:]
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return DefectTarget
		}
	}
	minor, err := minorVersion(version)
	if err != nil {
		return err
	}
	h.Minor = minor
	switch string(method) {
	case "CONNECT", "TRACE":
		return DefectTunnelMethod
	case "POST", "PUT", "PATCH":
		h.bodyVerb = true
	}
	switch {
	case target[0] == '/':
	case target[0] == '*':
		if len(target) != 1 || string(method) != "OPTIONS" {
			return DefectTarget
		}
	default:
		if _, _, ok := SplitAbsolute(target); !ok {
			return DefectTarget
		}
		h.authTgt = true
	}
	return nil
}

// minorVersion takes "HTTP/1.0" and "HTTP/1.1".
func minorVersion(v []byte) (uint8, error) {
	if len(v) != 8 || string(v[:5]) != "HTTP/" || v[6] != '.' || !digit(v[5]) || !digit(v[7]) {
		return 0, DefectRequestLine
	}
	if v[5] != '1' || v[7] > '1' {
		return 0, DefectVersion
	}
	return v[7] - '0', nil
}

func (h *Head) statusLine(line []byte) error {
	// RFC 9112 section 4: the reason phrase may be missing, and often its
	// space is too.
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] > '1' || line[7] < '0' ||
		line[8] != ' ' || !digit(line[9]) || !digit(line[10]) || !digit(line[11]) ||
		line[9] == '0' || len(line) > 12 && line[12] != ' ' {
		return DefectStatusLine
	}
	h.Minor = line[7] - '0'
	h.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	return nil
}

// FieldFraming are the fields that say where a message ends.
const FieldFraming = FieldContentLength | FieldTransferEncoding

func (h *Head) fieldLine(line []byte, strict bool) error {
	if line[0] == ' ' || line[0] == '\t' {
		if strict || h.line == 1 || h.last&FieldFraming != 0 {
			return DefectFold
		}
		return nil
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return DefectNoColon
	}
	name := line[:colon]
	if !strict {
		name = bytes.TrimRight(name, " \t")
	}
	if len(name) == 0 {
		return DefectName
	}
	for _, c := range name {
		if !tokenByte[c] {
			return DefectName
		}
	}
	f := Lookup(name)
	if h.last = f; f == 0 {
		return nil
	}
	h.twice |= h.Fields & f
	h.Fields |= f
	if f&(FieldFraming|FieldHost) == 0 {
		return nil
	}
	value := trimOWS(line[colon+1:])
	switch f {
	case FieldContentLength:
		if h.twice&f != 0 {
			return DefectTwoLengths
		}
		n, ok := parseLength(value)
		if !ok {
			return DefectLength
		}
		if h.Length != LengthChunked {
			h.Length = n
		}
	case FieldTransferEncoding:
		if h.twice&f != 0 {
			return DefectTwoCodings
		}
		if h.Minor == 0 {
			return DefectCodingIn10
		}
		if err := checkCoding(value); err != nil {
			return err
		}
		h.Length = LengthChunked
	case FieldHost:
		if h.twice&f != 0 && strict {
			return DefectTwoHosts
		}
		if strict && !ValidHost(value) {
			return DefectHost
		}
	}
	return nil
}

func (h *Head) finishRequest() error {
	switch {
	case h.Fields&FieldFraming == FieldFraming:
		return DefectLengthAndCoding
	case h.Minor == 1 && h.Fields&FieldHost == 0:
		return DefectNoHost
	case h.Minor == 0 && h.bodyVerb && h.Length == LengthNone:
		return DefectNoLength
	case h.twice&FieldContentType != 0:
		return DefectTwoTypes // the parser would keep the last, others the first
	}
	return nil
}

// JoinValues returns the values of all fields of a name in a raw head that was
// found sound, as one list (RFC 9110 section 5.3); folded lines are left out.
// lower is the name in lower case.
func JoinValues(head []byte, lower string) []byte {
	var list []byte
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if value = trimOWS(value); len(value) == 0 || !equalFold(trimOWS(name), lower) {
			continue
		}
		if list != nil {
			list = append(list, ", "...)
		}
		list = append(list, value...)
	}
	return list
}

// Twice says which fields of interest stood in the head more than once.
func (h *Head) Twice() Fields { return h.twice }

// checkCoding takes exactly "chunked", the one coding that weir knows. Others
// that could be genuine are told 501, the rest is malformed.
func checkCoding(value []byte) error {
	if equalFold(value, "chunked") {
		return nil
	}
	if equalFold(value, "identity") || len(value) == 0 {
		return DefectCoding
	}
	// A list whose last member is chunked, or a single token, is well formed
	// but not ours (RFC 9112 section 6.1: 501).
	last := value
	if i := bytes.LastIndexByte(value, ','); i >= 0 {
		last = trimOWS(value[i+1:])
		if !equalFold(last, "chunked") {
			return DefectCoding
		}
		return DefectUnknownCoding
	}
	for _, c := range last {
		if !tokenByte[c] {
			return DefectCoding
		}
	}
	return DefectUnknownCoding
}

// parseLength takes 1*DIGIT, at most 18 of them after leading zeros.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 {
		return 0, false
	}
	for len(v) > 1 && v[0] == '0' {
		v = v[1:]
	}
	if len(v) > maxLengthDigits {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// SplitAbsolute splits a target in absolute-form (RFC 9112 section 3.2.2) of
// scheme http or https into its authority and the origin-form of the rest. The
// path is "/" if the target has none; ok is false for anything malformed.
func SplitAbsolute(target []byte) (authority, origin []byte, ok bool) {
	var rest []byte
	switch {
	case len(target) > 7 && equalFold(target[:7], "http://"):
		rest = target[7:]
	case len(target) > 8 && equalFold(target[:8], "https://"):
		rest = target[8:]
	default:
		return nil, nil, false
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, origin = rest[:end], rest[end:]
	if len(authority) == 0 || !ValidHost(authority) {
		return nil, nil, false
	}
	return authority, origin, true
}

// ValidHost checks a Host value by RFC 9110 section 7.2: a registered name or
// an address in brackets, and perhaps a port. An empty value is allowed by the
// RFC for targets without authority and is allowed here. User info, lists,
// quotes, percent escapes and an empty port are not.
func ValidHost(v []byte) bool {
	if len(v) == 0 {
		return true
	}
	i := 0
	if v[0] == '[' {
		end := bytes.IndexByte(v, ']')
		if end < 3 {
			return false
		}
		for _, c := range v[1:end] {
			if !hexDigit(c) && c != ':' && c != '.' {
				return false
			}
		}
		i = end + 1
	} else {
		for i < len(v) && v[i] != ':' {
			if !hostByte[v[i]] {
				return false
			}
			i++
		}
		if i == 0 {
			return false
		}
	}
	if i == len(v) {
		return true
	}
	port := v[i+1:]
	if v[i] != ':' || len(port) == 0 || len(port) > 5 {
		return false
	}
	n := 0
	for _, c := range port {
		if !digit(c) {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// equalFold compares b with a lower-case ASCII word.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func hexDigit(c byte) bool {
	return digit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// tokenByte marks the bytes of a token (RFC 9110 section 5.6.2), hostByte those
// of a registered name without percent escapes (RFC 3986 section 3.2.2), with
// the underscore that real names carry and without comma, quotes and "=".
var tokenByte, hostByte = byteTable("!#$%&'*+-.^_`|~"), byteTable("-._~!$&*+;")

func byteTable(marks string) (t [256]bool) {
	for c := range t {
		t[c] = digit(byte(c)) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	for i := range len(marks) {
		t[marks[i]] = true
	}
	return t
}
