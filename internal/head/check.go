package head

import "bytes"

// CheckFields checks field lines that end in CRLF each, as a stored head has them, without
// first line and empty line. present is what they have; ok is false if a scan
// would refuse or repair a line.
func CheckFields(lines []byte) (present Set, ok bool) {
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		if end < 1 || lines[end-1] != '\r' {
			return 0, false
		}
		line := lines[:end-1]
		lines = lines[end+1:]
		name := tokenEnd(line)
		if name == 0 || name == len(line) || line[name] != ':' || !sound(line[name+1:]) {
			return 0, false
		}
		present |= lookup(line[:name]).bit()
	}
	return present, true
}

// CheckStatusLine says whether line, with its CRLF, is what AppendStatusLine writes for
// that status, of three digits, and some phrase without control bytes.
func CheckStatusLine(line []byte, status int) bool {
	const phrase = len("HTTP/1.1 200 ")
	if status < 100 || status > 999 || len(line) < phrase+len("\r\n") {
		return false
	}
	p := line[phrase : len(line)-len("\r\n")]
	return sound(p) && bytes.Equal(line, AppendStatusLine(nil, status, p))
}
