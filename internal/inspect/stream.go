package inspect

import (
	"cmp"
	"slices"
	"sort"

	"weir/admin"
)

// stream shows what is recorded to one watcher. It looks into the rings when the watcher asks for news, so that exchanges
// do not wait for watchers, and watching takes no memory besides that of the rings.
type stream struct {
	recorder *Recorder
	filter   filter
	bodies   bool
	// seen is the number of the last exchange that was looked at, recorded what Recorder.recorded was then.
	seen     uint64
	recorded int64
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
	if r.streams >= maxStreams {
		return nil, admin.ErrTooManyStreams
	}
	r.streams++
	return &stream{recorder: r, filter: f, bodies: bodies, seen: r.last, recorded: r.recorded}, nil
}

// Take implements admin.ExchangeStream.
func (s *stream) Take() *admin.ExchangeNews {
	list, passed := s.recent()
	fitting := list[:0]
	for _, k := range list {
		if s.filter.fits(k) {
			fitting = append(fitting, k)
		}
	}
	if passed += len(fitting); passed == 0 {
		return nil
	}
	shown := fitting[max(0, len(fitting)-maxNews):]
	news := &admin.ExchangeNews{Exchanges: make([]any, len(shown)), Passed: passed, Dropped: passed - len(shown)}
	for i, k := range shown {
		if s.bodies {
			news.Exchanges[i] = k.detail()
		} else {
			news.Exchanges[i] = k.Exchange
		}
	}
	return news
}

// recent returns what was recorded since the last call, in its order, and how many exchanges were pushed out before
// this stream looked at them.
func (s *stream) recent() (list []*kept, gone int) {
	r := s.recorder
	r.mu.Lock()
	for _, k := range [...]kind{recent, failed, slow} {
		all := r.rings[k].all()
		list = append(list, all[sort.Search(len(all), func(i int) bool { return all[i].number > s.seen }):]...)
	}
	gone = int(r.recorded-s.recorded) - len(list)
	s.seen, s.recorded = r.last, r.recorded
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b *kept) int { return cmp.Compare(a.number, b.number) })
	return list, gone
}

// Close implements admin.ExchangeStream.
func (s *stream) Close() {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	s.recorder.streams--
}
