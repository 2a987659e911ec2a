package http2

import "testing"

// However many streams of a connection want a buffer, together they hold little more than maxLent, and each gets
// one.
func TestShare(t *testing.T) {
	c := &conn{}
	var sizes []int
	for range maxStreams {
		s := &stream{}
		n := c.share(1 << 20)
		c.lend(s, n)
		sizes = append(sizes, n)
	}
	if sizes[0] != bigLent || sizes[maxStreams-1] != minLent {
		t.Errorf("the first buffer has %d bytes, the last one %d", sizes[0], sizes[maxStreams-1])
	}
	if most := maxLent + maxStreams*minLent; c.lent > most {
		t.Errorf("%d bytes are lent, want at most %d", c.lent, most)
	}
	if n := new(conn).share(1); n != minLent {
		t.Errorf("a window of one byte gets %d bytes", n)
	}
}
