package sock

import (
	"bufio"
	"io"
	"sync"
	"sync/atomic"

	"weir/internal/prefetch"
)

// Buffers pools readers that have buffers of one size.
type Buffers struct {
	size int
	pool sync.Pool
	// small is the pool for FirstRead.Small; nil if there is none.
	small *Buffers
}

// NewBuffers returns a pool of readers with buffers of size bytes.
func NewBuffers(size int) *Buffers {
	return &Buffers{size: size, pool: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, size) }}}
}

// WithSmall gives b smaller readers too, for FirstRead.Small.
func (b *Buffers) WithSmall(size int) *Buffers {
	b.small = NewBuffers(size)
	return b
}

// Get returns a reader of source.
func (b *Buffers) Get(source io.Reader) *bufio.Reader {
	r := b.pool.Get().(*bufio.Reader)
	r.Reset(source)
	return r
}

// Put takes r back, unless it has a buffer of another size.
func (b *Buffers) Put(r *bufio.Reader) {
	switch {
	case r.Size() == b.size:
		b.pool.Put(r)
	case b.small != nil:
		b.small.Put(r)
	}
}

// FirstRead waits for the first bytes of a message on a Stream without a buffer
// in hand: the buffer is taken when bytes may be there, and given back if none
// are. That is less memory, and the messages of many connections go through few
// buffers, which stay in the processor's cache.
//
// The connection that owns the FirstRead is what the buffer's reader reads from.
// Its Read must call Read of the FirstRead while Active says so. The zero
// FirstRead is never active.
type FirstRead struct {
	stream  *Stream
	owner   io.Reader
	buffers *Buffers
	// reader is where the owner keeps its reader; nil while it has none.
	reader **bufio.Reader
	// Small says, when a message begins, that it is to have a small buffer. nil means that none
	// is. Only a FirstRead whose buffers have small ones may have it.
	Small *atomic.Bool
	// Served is called by Await with the first bytes of each message in the owner's reader. It says
	// whether it has dealt with the message and left the owner without a reader: then Await waits for the
	// next one at once. The goroutine has stayed registered with the poller, which remembers what
	// came meanwhile, so the read is saved that would find nothing. nil leaves all messages to the owner.
	//
	// While Served runs, nothing can read from the connection, and a goroutine that closes it waits. The poller tells
	// only of what is new: Served must leave a message that has filled the buffer, behind which there may
	// be more, to the owner, who must also look at the socket once while Await waits after Served,
	// because an end that came together with the message is not told of.
	Served func() bool
	// memory is the owner's, expected what Expect was told of.
	memory   prefetch.Region
	expected prefetch.Regions

	begin  func(fd uintptr) bool
	active bool
	fd     uintptr
	err    error
}

// Init makes f ready to read from s. owner is the connection, reader is where it
// keeps its reader, which comes from buffers.
func (f *FirstRead) Init(s *Stream, owner io.Reader, reader **bufio.Reader, buffers *Buffers) {
	*f = FirstRead{stream: s, owner: owner, reader: reader, buffers: buffers}
	f.begin = f.Look
}

// Near says which memory the owner uses as soon as bytes have come.
func (f *FirstRead) Near(memory prefetch.Region) { f.memory = memory }

// Expect says which memory besides the owner's is used as soon as the next message has begun to come. f keeps that memory from
// being collected until another call.
func (f *FirstRead) Expect(memory prefetch.Regions) { f.expected = memory }

// Await returns when the first bytes of a message are in the owner's reader, when Served has
// returned false, or when the connection has ended. After a time-out it may be called again.
func (f *FirstRead) Await() error {
	return f.AwaitBy(f.begin)
}

// Ask is Await after a request was written, see Stream.Ask.
func (f *FirstRead) Ask(request []byte, fresh bool) (sent int, err error) {
	if sent, err = f.stream.Ask(request, fresh, f.begin); err != nil {
		return sent, err
	}
	return sent, f.err
}

// AwaitBy is Await with a function that decides, whenever something may have come, whether to call Look, and ends the
// wait by returning true. It returns the error of the last Look.
func (f *FirstRead) AwaitBy(begin func(fd uintptr) bool) error {
	if err := f.stream.Raw().Read(begin); err != nil {
		return err
	}
	return f.err
}

// Look reads the first bytes if they are there, and else gives the buffer back and returns false. It is for the functions
// of AwaitBy.
func (f *FirstRead) Look(fd uintptr) bool {
	prefetch.Stack()
	f.memory.Fetch()
	f.expected.Fetch()
	prefetch.Of(f.stream).Fetch()
	if *f.reader == nil {
		buffers := f.buffers
		if f.Small != nil && f.Small.Load() {
			buffers = buffers.small
		}
		*f.reader = buffers.Get(f.owner)
	}
	f.active, f.fd = true, fd
	_, f.err = (*f.reader).Peek(1)
	f.active = false
	if f.err != ErrAgain {
		return f.err != nil || f.Served == nil || !f.Served()
	}
	f.buffers.Put(*f.reader)
	*f.reader = nil
	return false
}

// Active reports whether Await or Ask reads just now.
func (f *FirstRead) Active() bool { return f.active }

// Read reads what is there, or returns ErrAgain. It must only be called while
// Active.
func (f *FirstRead) Read(p []byte) (int, error) { return f.stream.ReadNow(f.fd, p) }
