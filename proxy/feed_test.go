package proxy

import (
	"io"
	"os"
	"sync"

	"weir/internal/body"
	"weir/internal/head"
)

// feed is a body that one goroutine writes while another reads it.
type feed struct {
	// bound ends the waits of the reader.
	bound *bound

	mu      sync.Mutex
	changed chan struct{}
	pieces  []string
	said    error // what comes after pieces, io.EOF for the end; nil as long as that is not known
	trailer *head.Head
	left    int64 // -1: not known
	seen    int64
	err     error // what the reader was told last
	paused  bool
	kernel  body.Kernel
}

// newFeed returns an empty body of this length, -1 if its end alone says how long it is.
func newFeed(length int64) *feed {
	return (&feed{bound: new(bound), changed: make(chan struct{})}).is(length)
}

// is sets the length.
func (f *feed) is(length int64) *feed {
	return f.change(func() {
		if f.left = length; length == 0 {
			f.said, f.err = io.EOF, io.EOF
		}
	})
}

// change changes f and wakes its reader.
func (f *feed) change(how func()) *feed {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
	close(f.changed)
	f.changed = make(chan struct{})
	return f
}

// send adds pieces.
func (f *feed) send(pieces ...string) *feed {
	return f.change(func() { f.pieces = append(f.pieces, pieces...) })
}

// end says that nothing follows but these trailer lines.
func (f *feed) end(trailer ...string) *feed {
	return f.change(func() {
		f.said = io.EOF
		for _, line := range trailer {
			if f.trailer == nil {
				f.trailer = new(head.Head)
			}
			if err := f.trailer.ScanTrailer([]byte(line)); err != nil {
				panic(err)
			}
		}
	})
}

// fail makes err what comes after the pieces, if nothing was said about that.
func (f *feed) fail(err error) *feed {
	return f.change(func() {
		if f.said == nil {
			f.said = err
		}
	})
}

// pause makes every read fail, or not any more.
func (f *feed) pause(paused bool) { f.change(func() { f.paused = paused }) }

// Next implements body.Source.
func (f *feed) Next([]byte) ([]byte, error) {
	for {
		f.mu.Lock()
		p, changed, err := f.next()
		f.mu.Unlock()
		if p != nil || err != nil {
			return p, err
		}
		select {
		case <-changed:
		case <-f.bound.wait():
			if f.bound.over() {
				f.mu.Lock()
				f.err = os.ErrDeadlineExceeded
				f.mu.Unlock()
			}
		}
	}
}

// next returns what there is, or what to wait for.
func (f *feed) next() (p []byte, changed chan struct{}, err error) {
	switch {
	case f.err != nil:
		return nil, nil, f.err
	case f.paused:
		return nil, nil, body.ErrPaused
	case len(f.pieces) > 0:
		p = []byte(f.pieces[0])
		f.pieces = f.pieces[1:]
		f.took(int64(len(p)))
		return p, nil, nil
	case f.said != nil:
		if f.err = f.said; f.left > 0 && f.err == io.EOF {
			f.err = body.ErrTruncated
		}
		return nil, nil, f.err
	}
	return nil, f.changed, nil
}

func (f *feed) took(n int64) {
	f.seen += n
	if f.left >= 0 {
		if f.left -= n; f.left == 0 {
			f.err = io.EOF
		}
	}
}

// Ready implements body.Source.
func (f *feed) Ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil || len(f.pieces) > 0 || f.said != nil
}

// Whole implements body.Source.
func (f *feed) Whole() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := int64(0)
	for _, p := range f.pieces {
		n += int64(len(p))
	}
	return f.err == io.EOF || f.left >= 0 && n >= f.left
}

// Left implements body.Source.
func (f *feed) Left() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left
}

// Seen implements body.Source.
func (f *feed) Seen() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// Done implements body.Source.
func (f *feed) Done() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err == io.EOF
}

// Proven implements body.Source.
func (f *feed) Proven() bool { return f.Done() }

// Trailer implements body.Source.
func (f *feed) Trailer() *head.Head {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != io.EOF {
		return nil
	}
	return f.trailer
}

// Kernel implements body.Source.
func (f *feed) Kernel() body.Kernel { return f.kernel }

// Moved implements body.Source.
func (f *feed) Moved(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took(n)
}
