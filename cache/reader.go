package cache

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"weir/cache/rule"
	"weir/cache/tier"
)

// Errors of Wait and Reader.
var (
	// ErrAborted: the fetch ended before the end of the body was proven, or a
	// stored body cannot be read to its end.
	ErrAborted = errors.New("fetch was aborted")
	// ErrGone: the waiting exchange was given up.
	ErrGone = errors.New("client has gone away")

	errLate = errors.New("waited too long")
)

// Reader delivers a body piece by piece.
type Reader interface {
	// Next blocks until there are bytes to send and returns some. They must not
	// be changed and stay valid until the next call. The end is io.EOF if it was
	// proven, and an error if it was not: ErrGone once done is closed.
	Next(done <-chan struct{}) ([]byte, error)
	// Close ends reading.
	Close()
}

// fetchReader reads a body while it is fetched.
type fetchReader struct {
	f      *Fetch
	offset int64
	end    int64 // -1 means to the end of the body
	err    error
	blob   tier.Blob             // what memory does not hold any more; nil if it holds all
	buf    *[tier.ChunkSize]byte // what Next returned last, if there is a blob
}

// reader begins to read at first. It is nil if those bytes are gone, and reason
// says why.
func (f *Fetch) reader(first, length int64) (r *fetchReader, reason rule.Reason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.state.arriving() && f.state != finished {
		return nil, f.reason
	}
	r = &fetchReader{f: f, offset: first, end: -1}
	if length >= 0 {
		r.end = first + length
	}
	if f.state == inBlob || f.state == finished && f.writer != nil {
		r.openLocked()
	}
	if first < f.base && r.blob == nil {
		return nil, cmp.Or(f.reason, rule.ReasonEvicted)
	}
	f.readers = append(f.readers, r)
	return r, rule.ReasonNone
}

// openLocked lets r read from the fetch's blob, if that is still there.
func (r *fetchReader) openLocked() {
	if r.f.writer.blob.Open() == nil {
		r.blob = r.f.writer.blob
		r.buf = chunkBuffers.Get().(*[tier.ChunkSize]byte)
	}
}

// Reader lets the leader read what it fetches itself, from the start. It is
// called before the first Write.
func (f *Fetch) Reader() Reader {
	r, _ := f.reader(0, -1)
	return r
}

// Next implements Reader.
func (r *fetchReader) Next(done <-chan struct{}) ([]byte, error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if r.err != nil {
			return nil, r.err
		}
		if r.end >= 0 && r.offset >= r.end {
			return nil, io.EOF
		}
		if f.state == failed {
			if errors.Is(f.err, ErrAborted) {
				return nil, f.err // which may say more
			}
			return nil, ErrAborted
		}
		if f.endLocked() > r.offset {
			p := r.waitToTake()
			if r.end >= 0 && int64(len(p)) > r.end-r.offset {
				p = p[:r.end-r.offset]
			}
			r.offset += int64(len(p))
			if f.state == passing {
				f.notifyLocked()
			}
			if r.err == nil {
				return p[:len(p):len(p)], nil
			}
			continue
		}
		if !f.state.arriving() || f.whole {
			return nil, io.EOF
		}
		if err := f.waitForChange(done, nil); err != nil {
			r.err = err
		}
	}
}

// waitToTake returns bytes from r.offset on, from memory or from the blob. It
// sets r.err if they cannot be read any more.
func (r *fetchReader) waitToTake() []byte {
	f := r.f
	if r.offset >= f.base {
		p := f.body[r.offset-f.base:]
		if r.blob != nil {
			p = r.buf[:copy(r.buf[:], p)] // the memory will be used again
		}
		return p
	}
	f.mu.Unlock()
	p, err := r.blob.Read(r.buf[:], r.offset)
	f.mu.Lock()
	if err != nil {
		r.err = ErrAborted
		f.waitToLoseBlob(err)
	}
	return p
}

// Close implements Reader.
func (r *fetchReader) Close() {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers = slices.DeleteFunc(f.readers, func(o *fetchReader) bool { return o == r })
	if f.state == passing || len(f.readers) == 0 {
		f.notifyLocked()
	}
	if r.blob != nil {
		r.blob.Close()
		chunkBuffers.Put(r.buf)
		r.blob, r.buf = nil, nil
	}
	r.err = ErrAborted
}

// blobReader reads runs of a body on disk.
type blobReader struct {
	store *Store
	entry *Entry
	runs  []rule.Run
	ahead []byte // of the first span, read already
	buf   *[tier.ChunkSize]byte
}

// newBlobReader begins to read. That the first bytes are there and undamaged
// is known before anything is sent.
func (s *Store) newBlobReader(e *Entry, runs []rule.Run) (*blobReader, error) {
	if err := e.blob.Open(); err != nil {
		return nil, err
	}
	r := &blobReader{store: s, entry: e, runs: runs, buf: chunkBuffers.Get().(*[tier.ChunkSize]byte)}
	var err error
	if r.ahead, err = r.read(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// read takes the next bytes of the first run's span.
func (r *blobReader) read() ([]byte, error) {
	s := &r.runs[0].Span
	p, err := r.entry.blob.Read(r.buf[:], s.First)
	if err != nil {
		return nil, err
	}
	p = p[:min(int64(len(p)), s.Size())]
	s.First += int64(len(p))
	return p, nil
}

// Next implements Reader. It never waits for anything but the disk.
func (r *blobReader) Next(<-chan struct{}) ([]byte, error) {
	for ; len(r.runs) > 0; r.runs = r.runs[1:] {
		first := &r.runs[0]
		if p := first.Text; len(p) > 0 {
			first.Text = nil
			return p, nil
		}
		if p := r.ahead; len(p) > 0 {
			r.ahead = nil
			return p, nil
		}
		if first.Size() > 0 {
			p, err := r.read()
			if err != nil {
				r.store.dropDamaged(r.entry, err)
				return nil, ErrAborted
			}
			return p, nil
		}
	}
	return nil, io.EOF
}

// Close implements Reader.
func (r *blobReader) Close() {
	r.entry.blob.Close()
	chunkBuffers.Put(r.buf)
}
