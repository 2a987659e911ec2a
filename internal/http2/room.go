package http2

// The sizes of buffers for answers. They are lent to exchanges, which hold them while they wait for their target or
// their client.
const (
	minLent = 4 << 10
	midLent = 16 << 10
	bigLent = 64 << 10
	// maxLent bounds those of a connection's exchanges, but for one of minLent that each may have.
	maxLent = 640 << 10
	// crowd is from how many answers that wait for the client on the beginnings of others are read
	// into small buffers.
	crowd = 8
)

// share is the size of the buffer of a stream whose windows have room for n bytes: the
// more the others hold the less. c.mu is held.
func (c *conn) share(n int64) int {
	left := maxLent - c.lent
	switch {
	case n > midLent && left > maxLent/4:
		return bigLent
	case n > minLent && left > maxLent/8:
		return midLent
	}
	return minLent
}

// lend notes that the exchange of s holds a buffer of n bytes for its answer. c.mu is held.
func (c *conn) lend(s *stream, n int) {
	c.lent += n - s.lent
	s.lent = n
}
