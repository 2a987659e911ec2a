package sock

import "encoding/binary"

// recordHeader is the size of the header of a record of TLS, which ends with the length of the rest (RFC 8446 section 5.1).
const recordHeader = 5

// records follows where records of TLS end in what was read.
type records struct {
	// left is what is to come of a record whose header was read.
	left   int
	header [recordHeader]byte
	// has is how much there is of a header that was read in part.
	has int
	// ended counts records that have ended.
	ended int
	// filled says that the last read has filled its buffer, so that more may have come.
	filled bool
}

// see is called with all that was read.
func (r *records) see(p []byte) {
	for len(p) > 0 {
		if r.left == 0 {
			k := copy(r.header[r.has:], p)
			r.has += k
			p = p[k:]
			if r.has < recordHeader {
				return
			}
			r.has = 0
			r.left = int(binary.BigEndian.Uint16(r.header[recordHeader-2:]))
		}
		k := min(r.left, len(p))
		r.left -= k
		p = p[k:]
		if r.left == 0 {
			r.ended++
		}
	}
}

// ReadBy makes the reads of s those of f while f is active, so that what is read through TLS need
// not wait either.
func (s *PacedStream) ReadBy(f *FirstRead) { s.first = f }

// Read reads from the connection.
func (s *PacedStream) Read(p []byte) (n int, err error) {
	switch {
	case len(s.unread) > 0:
		n = copy(p, s.unread)
		if s.unread = s.unread[n:]; len(s.unread) == 0 {
			s.unread = nil
		}
	case s.first != nil && s.first.Active():
		n, err = s.first.Read(p)
	default:
		n, err = s.Stream.Read(p)
	}
	s.records.see(p[:n])
	s.records.filled = n == len(p)
	return n, err
}

// OneRecord says whether reads have brought the end of one record of TLS since it was last called, and nothing after
// that, and have found no more to read: then a TLS that has returned all bytes of this record has none left.
func (s *PacedStream) OneRecord() bool {
	r := &s.records
	one := r.ended == 1 && r.left == 0 && r.has == 0 && !r.filled
	r.ended = 0
	return one
}
