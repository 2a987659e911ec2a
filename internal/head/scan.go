package head

import (
	"bytes"
	"encoding/binary"
)

// scanner is where the scan of a head goes on when more bytes have arrived.
type scanner struct {
	off      int  // start of the first line that was not scanned yet
	first    int  // where the first line of a request ends
	lines    int  // lines scanned, the first line included
	empty    int  // empty lines before the first
	last     id   // of the field that the last line began
	bodyVerb bool // POST, PUT or PATCH
	absolute bool // the target is in absolute-form
	folded   bool // a line is folded, or has space before its colon
}

// maxLengthDigits bounds Content-Length: 18 digits always fit an int64.
const maxLengthDigits = 18

// maxEmptyLines is how many empty lines may precede a request line (RFC 9112
// section 2.2 asks for at least one).
const maxEmptyLines = 4

// LineWithin says whether a request's first line, with the empty lines before it,
// has been seen whole and is at most n bytes long.
func (h *Head) LineWithin(n int) bool { return h.scan.lines > 0 && h.scan.first <= n }

// ScanRequest checks the request head at the start of buf. It returns nil when the
// head is whole and sound, ErrShort when more bytes are needed, or a *Defect.
// The scan goes on where it stopped, so that a head that trickles in costs
// linear time; buf must then begin with the same bytes. On success h holds a copy
// of the head, with a target in absolute-form taken apart: its authority is the
// Host (RFC 9112 section 3.2.2).
func (h *Head) ScanRequest(buf []byte) error {
	s := &h.scan
	if s.off == 0 {
		h.Length = LengthNone
	}
	for {
		line, err := s.next(buf)
		if err != nil {
			return err
		}
		switch {
		case len(line) == 0 && s.lines == 0:
			if s.empty++; s.empty > maxEmptyLines {
				return DefectEmptyLines
			}
			continue
		case len(line) == 0:
			if err := h.finishRequest(); err != nil {
				return err
			}
			h.take(buf)
			h.originForm()
			return nil
		case s.lines == 0:
			err = h.requestLine(line)
		default:
			err = h.fieldLine(line, true)
		}
		if err != nil {
			return err
		}
		if s.lines++; s.lines == 1 {
			s.first = s.off
		}
	}
}

// ScanResponse does the same for a response head. Folded lines that do not say where
// the message ends, and space before a colon, are repaired (RFC 9112 sections 5.1
// and 5.2).
func (h *Head) ScanResponse(buf []byte) error {
	s := &h.scan
	if s.off == 0 {
		h.Length = LengthNone
	}
	for {
		line, err := s.next(buf)
		if err != nil {
			return err
		}
		switch {
		case s.lines == 0:
			err = h.statusLine(line)
		case len(line) == 0:
			h.take(buf)
			if s.folded {
				h.repair()
			}
			return nil
		default:
			err = h.fieldLine(line, false)
		}
		if err != nil {
			return err
		}
		s.lines++
	}
}

// ScanTrailer checks one line of a trailer section, without its CRLF, and adds it to
// h. It returns nil or DefectTrailer.
func (h *Head) ScanTrailer(line []byte) error {
	end := tokenEnd(line)
	if end == 0 || end == len(line) || line[end] != ':' || !sound(line[end+1:]) {
		return DefectTrailer
	}
	at := int32(len(h.own))
	h.own = append(append(h.own, line...), "\r\n"...)
	f := field{line: span{at, at + int32(len(line)) + 2}, nameEnd: at + int32(end), id: lookup(line[:end])}
	f.value = trimmed(line, at, end+1)
	h.present |= f.id.bit()
	h.fields = append(h.fields, f)
	return nil
}

// next returns the next line without its CRLF and moves past it.
func (s *scanner) next(buf []byte) ([]byte, error) {
	n := bytes.IndexByte(buf[s.off:], '\n')
	if n < 0 {
		return nil, ErrShort
	}
	if n == 0 || buf[s.off+n-1] != '\r' {
		return nil, DefectBareLF
	}
	line := buf[s.off : s.off+n-1]
	s.off += n + 1
	return line, nil
}

// take copies what was scanned.
func (h *Head) take(buf []byte) {
	h.Size = h.scan.off
	h.raw = append(h.raw[:0], buf[:h.Size]...)
	h.base = h.raw
}

// at is the span of a part of the line that was scanned last.
func (s *scanner) at(line []byte, start, end int) span {
	begin := int32(s.off - len(line) - 2)
	return span{begin + int32(start), begin + int32(end)}
}

func (h *Head) requestLine(line []byte) error {
	end := tokenEnd(line)
	if end == 0 || end == len(line) || line[end] != ' ' {
		if bytes.IndexByte(line, ' ') <= 0 {
			return DefectRequestLine
		}
		return DefectMethod
	}
	method, rest := line[:end], line[end+1:]
	sp := bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return DefectRequestLine
	}
	target, version := rest[:sp], rest[sp+1:]
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return DefectTarget
		}
	}
	var err error
	if h.Version, err = versionOf(version); err != nil {
		return err
	}
	h.method = h.scan.at(line, 0, end)
	h.target = h.scan.at(line, end+1, end+1+sp)
	return h.checkTarget(method, target)
}

// checkTarget checks the method and the form of the target (RFC 9112 section 3.2).
func (h *Head) checkTarget(method, target []byte) error {
	switch string(method) {
	case "CONNECT", "TRACE":
		return DefectTunnelMethod
	case "POST", "PUT", "PATCH":
		h.scan.bodyVerb = true
	}
	switch target[0] {
	case '/':
	case '*':
		if len(target) != 1 || string(method) != "OPTIONS" {
			return DefectTarget
		}
	default:
		if _, _, ok := SplitAbsolute(target); !ok {
			return DefectTarget
		}
		h.scan.absolute = true
	}
	return nil
}

// versionOf takes "HTTP/1.0" and "HTTP/1.1".
func versionOf(v []byte) (Version, error) {
	switch string(v) {
	case "HTTP/1.1":
		return HTTP11, nil
	case "HTTP/1.0":
		return HTTP10, nil
	}
	if len(v) != 8 || string(v[:5]) != "HTTP/" || v[6] != '.' || !digit(v[5]) || !digit(v[7]) {
		return HTTP11, DefectRequestLine
	}
	return HTTP11, DefectVersion
}

func (h *Head) statusLine(line []byte) error {
	// RFC 9112 section 4: the reason phrase may be missing, and often its space is too.
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] > '1' || line[7] < '0' ||
		line[8] != ' ' || !digit(line[9]) || !digit(line[10]) || !digit(line[11]) ||
		line[9] == '0' || len(line) > 12 && line[12] != ' ' {
		return DefectStatusLine
	}
	if h.Version = HTTP11; line[7] == '0' {
		h.Version = HTTP10
	}
	h.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if len(line) > 13 {
		if !sound(line[13:]) {
			return DefectStatusLine
		}
		h.phrase = h.scan.at(line, 13, len(line))
	}
	return nil
}

// fieldLine takes up one line. Only where it is not strict is anything left to
// be repaired.
func (h *Head) fieldLine(line []byte, strict bool) error {
	if line[0] == ' ' || line[0] == '\t' {
		return h.foldedLine(line, strict)
	}
	end := tokenEnd(line)
	colon := end
	if end < len(line) && line[end] != ':' && !strict {
		colon += len(line[end:]) - len(bytes.TrimLeft(line[end:], " \t"))
		h.scan.folded = true
	}
	switch {
	case colon < len(line) && line[colon] == ':' && end > 0:
	case bytes.IndexByte(line, ':') < 0:
		return DefectNoColon
	default:
		return DefectName
	}
	if !sound(line[colon+1:]) {
		return DefectValue
	}
	f := field{line: h.scan.at(line, 0, len(line)+2), id: lookup(line[:end])}
	f.nameEnd = f.line.start + int32(end)
	f.value = trimmed(line, f.line.start, colon+1)
	h.fields = append(h.fields, f)
	h.scan.last = f.id
	if f.id == other {
		return nil
	}
	bit := f.id.bit()
	h.repeated |= h.present & bit
	h.present |= bit
	if bit&(Framing|1<<host) == 0 {
		return nil
	}
	from := f.line.start
	return h.special(f.id, line[f.value.start-from:f.value.end-from], strict)
}

// foldedLine makes a line that begins with space a part of the line before it.
func (h *Head) foldedLine(line []byte, strict bool) error {
	if strict || len(h.fields) == 0 || h.scan.last.bit()&Framing != 0 {
		return DefectFold
	}
	if !sound(line) {
		return DefectValue
	}
	h.scan.folded = true
	f := &h.fields[len(h.fields)-1]
	f.line.end = int32(h.scan.off)
	if more := trimmed(line, int32(h.scan.off-len(line)-2), 0); !more.empty() {
		if f.value.empty() {
			f.value.start = more.start
		}
		f.value.end = more.end
	}
	return nil
}

// special looks at the fields that say where the message ends and whom it is for.
func (h *Head) special(i id, value []byte, strict bool) error {
	twice := h.repeated&i.bit() != 0
	switch i {
	case contentLength:
		if twice {
			return DefectTwoLengths
		}
		n, ok := parseLength(value)
		if !ok {
			return DefectLength
		}
		if h.Length != LengthChunked {
			h.Length = n
		}
	case transferEncoding:
		if twice {
			return DefectTwoCodings
		}
		if h.Version == HTTP10 {
			return DefectCodingIn10
		}
		if err := checkCoding(value); err != nil {
			return err
		}
		h.Length = LengthChunked
	case host:
		if twice && strict {
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
	case h.present&Framing == Framing:
		return DefectLengthAndCoding
	case h.Version != HTTP10 && h.present&(1<<host) == 0:
		return DefectNoHost
	case h.Version == HTTP10 && h.scan.bodyVerb && h.Length == LengthNone:
		return DefectNoLength
	case h.repeated&(1<<contentType) != 0:
		return DefectTwoTypes // some read the first, some the last
	}
	return nil
}

// originForm takes a target in absolute-form apart.
func (h *Head) originForm() {
	if !h.scan.absolute {
		return
	}
	authority, origin, _ := SplitAbsolute(h.Target())
	h.Set(Host, authority)
	switch {
	case len(origin) > 0 && origin[0] == '/':
		h.target.start = h.target.end - int32(len(origin))
	case len(origin) == 0 && string(h.Method()) == "OPTIONS":
		h.target = put(h, "*")
	default:
		h.target = put(h, "/"+string(origin))
	}
}

// repair writes folded lines as one, with spaces where their line breaks were, and
// takes the space before colons away. All of it happens in place.
func (h *Head) repair() {
	for i := range h.fields {
		f := &h.fields[i]
		line := h.base[f.line.start:f.line.end]
		for j, c := range line[:len(line)-2] {
			if c == '\r' || c == '\n' {
				line[j] = ' '
			}
		}
		name := int(f.nameEnd - f.line.start)
		for j := name; line[name] != ':'; j++ {
			if line[j] == ':' {
				line[name], line[j] = ':', ' '
			}
		}
	}
}

// trimmed is the span of line[from:] without the space around it; at is where the line
// begins.
func trimmed(line []byte, at int32, from int) span {
	end := len(line)
	for from < end && (line[from] == ' ' || line[from] == '\t') {
		from++
	}
	for from < end && (line[end-1] == ' ' || line[end-1] == '\t' || line[end-1] == '\r') {
		end--
	}
	return span{at + int32(from), at + int32(end)}
}

// tokenEnd is the length of the token that b begins with.
func tokenEnd(b []byte) int {
	for i, c := range b {
		if !tokenByte[c] {
			return i
		}
	}
	return len(b)
}

// sound says whether a value has no control bytes but tabs.
func sound(v []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(v) >= 8 {
		w := binary.LittleEndian.Uint64(v)
		// A byte below 0x20, or one that is 0x7f, sets its high bit here; bytes of
		// 0x80 and more never do.
		low := (w - ones*0x20) & ^w & high
		del := w ^ ones*0x7f
		del = (del - ones) & ^del & high
		if low|del != 0 && !soundBytes(v[:8]) {
			return false
		}
		v = v[8:]
	}
	return soundBytes(v)
}

func soundBytes(v []byte) bool {
	for _, c := range v {
		if control[c] {
			return false
		}
	}
	return true
}

// checkCoding takes exactly "chunked", the one coding that weir knows. Others
// that could be genuine are told 501, the rest is malformed.
func checkCoding(value []byte) error {
	if isWord(value, "chunked") {
		return nil
	}
	if isWord(value, "identity") || len(value) == 0 {
		return DefectCoding
	}
	// A list whose last member is chunked, or a single token, is well formed
	// but unknown (RFC 9112 section 6.1: 501).
	if i := bytes.LastIndexByte(value, ','); i >= 0 {
		if last := bytes.Trim(value[i+1:], " \t"); !isWord(last, "chunked") {
			return DefectCoding
		}
		return DefectUnknownCoding
	}
	if tokenEnd(value) != len(value) {
		return DefectCoding
	}
	return DefectUnknownCoding
}

// isWord compares b with a lower-case word without regard to case.
func isWord(b []byte, word string) bool {
	return len(b) == len(word) && equalFold(b, word)
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

func digit(c byte) bool { return '0' <= c && c <= '9' }

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// tokenByte marks the bytes of a token (RFC 9110 section 5.6.2), hostByte those
// of a registered name without percent escapes (RFC 3986 section 3.2.2), with
// the underscore that real names carry and without comma, quotes and "=", control
// those that no field value may have.
var (
	tokenByte = byteTable(func(c byte) bool { return letter(c) || digit(c) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 })
	hostByte  = byteTable(func(c byte) bool { return letter(c) || digit(c) || bytes.IndexByte([]byte("-._~!$&*+;"), c) >= 0 })
	control   = byteTable(func(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f })
)

func byteTable(marked func(c byte) bool) (t [256]bool) {
	for c := range t {
		t[c] = marked(byte(c))
	}
	return t
}
