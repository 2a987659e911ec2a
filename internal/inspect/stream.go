package inspect

import (
	"weir/admin"
)

// stream is one who watches what is recorded. What comes in faster than it is taken is dropped
// and counted.
type stream struct {
	recorder *Recorder
	filter   filter
	bodies   bool
	// last are the newest exchanges since the last Take, from first on around the end; at most
	// maxNews. passed counts all. Recorder.mu guards them.
	last   []*kept
	first  int
	passed int
}

// The bounds of streams: how many there may be, and the exchanges of one piece of news.
const (
	maxStreams = 16
	maxNews    = 50
)

// Watch implements admin.Inspector.
func (r *Recorder) Watch(text string, bodies bool) (admin.ExchangeStream, error) {
	f, err := newFilter(text)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.streams) >= maxStreams {
		return nil, admin.ErrTooManyStreams
	}
	s := &stream{recorder: r, filter: f, bodies: bodies}
	r.streams[s] = struct{}{}
	return s, nil
}

// offer shows k, which was recorded just now. Recorder.mu is held.
func (s *stream) offer(k *kept) {
	if !s.filter.fits(k) {
		return
	}
	s.passed++
	if len(s.last) < maxNews {
		s.last = append(s.last, k)
		return
	}
	s.last[s.first] = k
	s.first = (s.first + 1) % maxNews
}

// Take implements admin.ExchangeStream.
func (s *stream) Take() *admin.ExchangeNews {
	s.recorder.mu.Lock()
	last := append(append([]*kept(nil), s.last[s.first:]...), s.last[:s.first]...)
	news := &admin.ExchangeNews{Passed: s.passed, Dropped: s.passed - len(last)}
	s.last, s.first, s.passed = s.last[:0], 0, 0
	s.recorder.mu.Unlock()
	if len(last) == 0 {
		return nil
	}
	for _, k := range last {
		if s.bodies {
			news.Exchanges = append(news.Exchanges, k.detail())
		} else {
			news.Exchanges = append(news.Exchanges, k.Exchange)
		}
	}
	return news
}

// Close implements admin.ExchangeStream.
func (s *stream) Close() {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	delete(s.recorder.streams, s)
}
