package proxy

import "slices"

// Direction is the way of a body through weir.
type Direction uint8

// The directions.
const (
	// ToTarget is the request's body.
	ToTarget Direction = iota
	// ToClient is the response's body.
	ToClient

	directions
)

// Tap watches the bytes of a body as they pass. piece is borrowed for the call; end
// says that it is called for the last time, because the body has ended, the limit was
// reached or the exchange has failed. piece may then be empty.
type Tap func(piece []byte, end bool)

// tap is a Tap and how many bytes it may still get.
type tap struct {
	watch Tap // nil once it was called for the last time
	left  int64
}

// taps are those of one exchange by direction.
type taps [directions][]tap

func (t *taps) reset() {
	for d := range t {
		if len(t[d]) > 0 {
			clear(t[d])
			t[d] = t[d][:0]
		}
	}
}

// Tap makes watch see the first limit bytes of one body, and its end. It must be called
// before that body moves: from OnRequest for either, from OnResponse or OnReply for
// the response's. A body that is watched does not move inside the kernel until all
// limits are reached. With several attempts the request's body is seen once.
func (x *Exchange) Tap(d Direction, limit int64, watch Tap) {
	x.taps[d] = append(x.taps[d], tap{watch, max(limit, 0)})
}

// watched says whether any tap still wants bytes.
func (t *taps) watched(d Direction) bool { return len(t[d]) > 0 }

// see shows p to the taps, if there are any.
func (t *taps) see(d Direction, p []byte) {
	if len(t[d]) > 0 {
		t.show(d, p)
	}
}

// show calls the taps with p. One that panics is not called again.
func (t *taps) show(d Direction, p []byte) {
	list := t[d]
	for i := range list {
		w := &list[i]
		watch := w.watch
		if watch == nil {
			continue
		}
		piece := p[:min(int64(len(p)), w.left)]
		w.left -= int64(len(piece))
		w.watch = nil
		watch(piece, w.left == 0)
		if w.left > 0 {
			w.watch = watch
		}
	}
	t[d] = slices.DeleteFunc(list, func(w tap) bool { return w.watch == nil })
}

// end tells the taps that nothing more comes. One that panics is not called again, and
// keeps the others from being told: endTaps tells them.
func (t *taps) end(d Direction) {
	list := t[d]
	for i := range list {
		watch := list[i].watch
		list[i].watch = nil
		if watch != nil {
			watch(nil, true)
		}
	}
	t[d] = list[:0]
}

// endTaps tells all taps that are left that nothing more comes, when the exchange is over.
func (x *Exchange) endTaps() {
	for d := range directions {
		for x.taps.watched(d) {
			x.proxy.recovered(func() { x.taps.end(d) })
		}
	}
}
