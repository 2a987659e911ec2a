package head

import "bytes"

// scanner is where the scan of a head goes on when more bytes have arrived.
type scanner struct {
	off      int  // start of the first line that was not scanned yet
	seen     int  // before it there is no line feed from off on
	first    int  // where the first line ends
	lines    int  // lines scanned, the first line included
	empty    int  // empty lines before the first
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
// head is whole and sound, ErrShort when more bytes are needed, or a *Defect. h must
// be the zero value or Reset before each new head. After ErrShort the scan goes on
// where it stopped, so that a head that trickles in costs linear time; buf must then begin
// with the same bytes, wherever they lie.
//
// On success h holds a copy of the head, with a target in absolute-form taken apart: its
// authority is the Host (RFC 9112 section 3.2.2). With an error h holds what was scanned so far,
// and its bytes are those of buf.
func (h *Head) ScanRequest(buf []byte) error {
	s := h.scanOn(buf)
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
			h.keep(buf)
			if h.Version == HTTP11 {
				h.first = span{h.method.start, int32(s.first)}
			}
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
	s := h.scanOn(buf)
	if h.scanAgain(buf) {
		return nil
	}
	before := h.forget()
	for {
		if err := h.scanSame(buf, before); err != nil {
			return err
		}
		line, err := s.next(buf)
		if err != nil {
			return err
		}
		switch {
		case s.lines == 0:
			err = h.statusLine(line)
		case len(line) == 0:
			h.keep(buf)
			if h.Version == HTTP11 && !h.phrase.empty() {
				h.first = span{0, int32(s.first)}
			}
			if s.folded {
				h.repair()
			}
			h.remember()
			return nil
		default:
			err = h.fieldLine(line, false)
		}
		if err != nil {
			return err
		}
		if s.lines++; s.lines == 1 {
			s.first = s.off
		}
	}
}

// scanned is what a Head knows of the last response that was scanned.
type scanned struct {
	extent
	// What the scan has found, beside raw and as many fields.
	version Version
	status  int
	length  int64
	found   int
	parts   parts
}

// extent is how much of raw and fields is as a scan has left it, though a Reset has made them empty since; edits of fields
// show in the fields.
type extent struct{ raw, fields int }

// remember keeps what a scan has found.
func (h *Head) remember() {
	if h.scanned == nil {
		h.scanned = new(scanned)
	}
	*h.scanned = scanned{extent{h.Size, len(h.fields)}, h.Version, h.Status, h.Length, len(h.fields), h.parts}
}

// forget says that raw and fields are not those of a scan any more, and returns what they have been.
func (h *Head) forget() (before extent) {
	if s := h.scanned; s != nil {
		before, s.extent = s.extent, extent{}
	}
	return before
}

// scanAgain makes h what the scan before made it if buf begins with the same head, byte for byte: most responses of a target
// differ in Date at most, once a second.
func (h *Head) scanAgain(buf []byte) bool {
	s := h.scanned
	if s == nil || s.raw == 0 || s.fields != s.found || s.parts.scan.folded || len(buf) < s.raw || string(buf[:s.raw]) != string(h.raw[:s.raw]) {
		return false // of a repaired head, raw is not as it came
	}
	fields := h.fields[:s.fields]
	for i := range fields {
		if int(fields[i].line.end) > s.raw {
			return false // the line was changed
		}
		fields[i].dead = false
	}
	h.Version, h.Status, h.Length, h.Size, h.parts = s.version, s.status, s.length, s.raw, s.parts
	h.fields, h.raw = fields, h.raw[:s.raw]
	h.base = h.raw
	return true
}

// scanSame takes up the lines from where the scan is that are the same, byte for byte, as those at their places in the response that h
// held before: the responses of a target differ in few lines. It stops at the first other one. Requests are not scanned so, because
// a client could find out by time what others have sent.
func (h *Head) scanSame(buf []byte, before extent) error {
	s := &h.scan
	if s.lines == 0 {
		return nil
	}
	raw := h.raw[:before.raw]
	for n := len(h.fields); n < before.fields; n++ {
		f := &h.fields[:n+1][n]
		if int(f.line.end) > before.raw {
			return nil // the line was changed
		}
		line, rest := raw[f.line.start:f.line.end], buf[s.off:]
		if len(rest) < len(line) || string(rest[:len(line)]) != string(line) {
			return nil
		}
		moved := int32(s.off) - f.line.start
		f.line, f.nameEnd = span{f.line.start + moved, f.line.end + moved}, f.nameEnd+moved
		f.value, f.dead = span{f.value.start + moved, f.value.end + moved}, false
		h.fields = h.fields[:n+1]
		s.off += len(line)
		if err := h.note(f, f.id, false); err != nil {
			return err
		}
		s.lines++
	}
	return nil
}

// TrailerName checks a line of a trailer section, without its CRLF, and returns where the name ends.
func TrailerName(line []byte) (end int, err error) {
	end = tokenEnd(line)
	if end == 0 || end == len(line) || line[end] != ':' || !sound(line[end+1:]) {
		return 0, DefectTrailer
	}
	return end, nil
}

// ScanTrailer checks one line of a trailer section, without its CRLF, and adds a copy of
// it to h, which holds nothing but such lines. It returns nil or DefectTrailer.
func (h *Head) ScanTrailer(line []byte) error {
	end, err := TrailerName(line)
	if err != nil {
		return err
	}
	at := int32(len(h.base) + len(h.own))
	h.own = append(append(h.own, line...), "\r\n"...)
	f := h.newField()
	f.line, f.nameEnd = span{at, at + int32(len(line)) + 2}, at+int32(end)
	f.value = trimmed(line, at, end+1)
	f.id = lookup(line[:end])
	h.present |= f.id.bit()
	return nil
}

// scanOn makes the methods of h read buf, and returns how far the scan is.
func (h *Head) scanOn(buf []byte) *scanner {
	if h.scan.off == 0 {
		h.Length = LengthNone
	}
	h.base = buf
	return &h.scan
}

// next returns the next line without its CRLF and moves past it.
func (s *scanner) next(buf []byte) ([]byte, error) {
	from := max(s.off, s.seen)
	n := bytes.IndexByte(buf[from:], '\n')
	if n < 0 {
		s.seen = len(buf)
		return nil, ErrShort
	}
	end := from + n
	if end == s.off || buf[end-1] != '\r' {
		return nil, DefectBareLF
	}
	line := buf[s.off : end-1]
	s.off = end + 1
	return line, nil
}

// keep copies what was scanned.
func (h *Head) keep(buf []byte) {
	h.Size = h.scan.off
	h.raw = append(h.raw[:0], buf[:h.Size]...)
	h.base, h.asScanned = h.raw, !h.scan.folded
	h.forget()
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
	if !visible(target) {
		return DefectTarget
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
	end := tokenEnd(line)
	colon := end
	if end == 0 || end == len(line) || line[end] != ':' {
		if line[0] == ' ' || line[0] == '\t' {
			return h.foldedLine(line, strict)
		}
		if colon = colonAfterSpace(line, end); colon < 0 || strict {
			return notField(line)
		}
		h.scan.folded = true
	}
	if !sound(line[colon+1:]) {
		return DefectValue
	}
	at := int32(h.scan.off - len(line) - 2)
	f := h.newField()
	f.line, f.nameEnd = span{at, int32(h.scan.off)}, at+int32(end)
	f.value = trimmed(line, at, colon+1)
	return h.note(f, lookup(line[:end]), strict)
}

// colonAfterSpace is where the colon stands that follows a name of end bytes and some
// space; -1 without one.
func colonAfterSpace(line []byte, end int) int {
	rest := bytes.TrimLeft(line[end:], " \t")
	if end == 0 || len(rest) == 0 || rest[0] != ':' {
		return -1
	}
	return len(line) - len(rest)
}

// notField says why a line is not a field.
func notField(line []byte) *Defect {
	if bytes.IndexByte(line, ':') < 0 {
		return DefectNoColon
	}
	return DefectName
}

// note gives a line that was scanned or filled its id, and checks the line if it says where
// the message ends or whom it is for, and takes up what Connection names.
func (h *Head) note(f *field, i id, strict bool) error {
	f.id = i
	bit := i.bit()
	h.repeated |= h.present & bit
	h.present |= bit
	if bit&(Framing|1<<host|1<<trailer|1<<connection) == 0 {
		return nil
	}
	return h.special(i, h.value(f), strict)
}

// foldedLine makes a line that begins with space a part of the line before it.
func (h *Head) foldedLine(line []byte, strict bool) error {
	if strict || len(h.fields) == 0 || h.fields[len(h.fields)-1].id.bit()&Framing != 0 {
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

// special looks at the fields that say where the message ends, whom it is for, and what becomes of the connection.
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
	case trailer:
		if strict {
			return checkAnnounced(value)
		}
	case connection:
		h.options |= optionsOf(value)
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
	h.first = span{}
	switch {
	case len(origin) > 0 && origin[0] == '/':
		h.target.start = h.target.end - int32(len(origin))
	case len(origin) == 0 && string(h.Method()) == "OPTIONS":
		h.target = put(h, "*")
	default:
		h.target = span{put(h, "/").start, put(h, origin).end}
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
