package cli

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// calm is how long hardly anything must have been allocated for a burst to be over.
	calm = 250 * time.Millisecond
	// calmBytes is what hardly anything is.
	calmBytes = 64 << 10
	// manyClients is from how many goroutines on it pays to give back pages of the program file: each of them has
	// looked into it for its stack to grow.
	manyClients = 256
)

// burst is the allocations of a short time: of the start, or of many clients that come together. What they leave
// would stay resident until the next collection, which comes after two minutes if traffic makes no garbage: garbage, buffers
// that pools keep, and the small stacks that goroutines had before they needed larger ones. So memory is
// collected and given back to the system once a burst is over. The methods of a burst may be called from
// any goroutine.
type burst struct {
	heap heap // nil stands for that of the process

	mu     sync.Mutex
	timer  *time.Timer // nil while no burst is watched
	before uint64      // bytes allocated at the last look
	// known is the number of collections that no burst is watched for: up to the last one that release made.
	known uint64
}

// heap is what a burst does with the heap.
type heap interface {
	// stat is how many bytes were allocated since the start, and how many collections there were.
	stat() (bytes, collections uint64)
	// release collects, and gives back what is free.
	release()
}

// collected is called after each collection.
func (b *burst) collected() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.heap == nil {
		b.heap = goHeap{}
	}
	bytes, collections := b.heap.stat()
	if b.timer == nil && collections > b.known {
		b.before = bytes
		b.timer = time.AfterFunc(calm, b.look)
	}
}

// look releases memory if nothing was allocated since the last look.
func (b *burst) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	bytes, _ := b.heap.stat()
	if bytes-b.before > calmBytes {
		b.before = bytes
		b.timer.Reset(calm)
		return
	}
	b.timer, b.known = nil, math.MaxUint64
	b.mu.Unlock()
	b.heap.release()
	b.mu.Lock()
	_, b.known = b.heap.stat()
}

type goHeap struct{}

func (goHeap) stat() (bytes, collections uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64()
}

// release collects twice, because pools drop what is not used with the second collection. Stacks that grow, and
// collections, use parts of the program file that requests do not. An error was logged at the start.
func (goHeap) release() {
	runtime.GC()
	debug.FreeOSMemory()
	if runtime.NumGoroutine() >= manyClients {
		_ = dropFilePages()
	}
}
