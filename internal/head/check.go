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
