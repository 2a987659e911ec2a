package frames

import (
	"encoding/binary"
	"net"
	"sync"
	"time"

	h2 "golang.org/x/net/http2"

	"weir/internal/sock"
)

const (
	// Gathered is how much is gathered before body bytes have to wait. It is, with TLS around it, what the kernel passes on
	// in one piece (64 KiB at most, in whole packets): a few bytes more would cost as much as a second one.
	Gathered = 63 << 10
	// leastFrame is how much must be free for a frame with body bytes.
	leastFrame = 512
	// MaxBacklog is how much may be gathered for a peer that does not read, before what would
	// add to it has to wait.
	MaxBacklog = 256 << 10
	// maxUnsent is what the kernel takes beyond what it can send, and slowUnsent what it takes for a
	// slow peer.
	maxUnsent  = 64 << 10
	slowUnsent = 16 << 10
	// ahead is how long a peer may need for what is gathered: whatever comes meanwhile has to wait for that.
	ahead = 2 * time.Millisecond
	// pooledOutput is the largest buffer that is pooled.
	pooledOutput = 128 << 10
	// record is the payload of a TLS record.
	record = 16 << 10
)

var outputs = sync.Pool{New: func() any { return new([]byte) }}

// Owner is the connection that an Output belongs to. Its lock is held when a method is called.
type Owner interface {
	// Pump appends body bytes, as far as there is room (Output.Room).
	Pump()
	// Failed is called once, when Broken was set.
	Failed()
}

// Output is the writing half of a connection. Its writes never wait: what the socket does not
// take is drained by a goroutine of its own, and the body bytes that follow are chosen when there is
// room, not before. The connection's lock guards it.
type Output struct {
	// Out are the frames to be written, pooled is what Out was taken from.
	Out    []byte
	pooled *[]byte
	// writing says that a goroutine writes, which also writes what is gathered meanwhile.
	writing bool
	// stuck says that the socket took less than it was given: what comes by choice is chosen
	// only when there is room again.
	stuck bool
	// Broken is why nothing can be written any more; nil as long as something can.
	Broken error
	// Drained is signalled when something was written, and when nothing will be.
	Drained sync.Cond
	// Round counts the buffers, so that a frame can be known to be still in Out.
	Round uint64
	// Acks are how many answers to SETTINGS and PING have not been written.
	Acks int
	// Encoder makes the header blocks.
	Encoder Encoder

	// gathered is how much is gathered: as much as the peer takes in the time ahead, but at least MaxFrame and at
	// most Gathered.
	gathered int
	// slow says that MaxFrame is more than the peer takes in that time.
	slow bool
	// pace is how slowly the peer may take what is written.
	pace  sock.Pace
	mu    *sync.Mutex
	owner Owner
	nc    net.Conn
	under *sock.PacedStream
	spool sock.Spool
}

// Start makes o write to nc, which is under, or TLS over it, for a connection with this lock. pace
// has been Reset.
func (o *Output) Start(owner Owner, mu *sync.Mutex, nc net.Conn, under *sock.PacedStream, pace sock.Pace) {
	o.owner, o.mu, o.nc, o.under, o.pace = owner, mu, nc, under, pace
	o.Drained.L = mu
	o.gathered = Gathered
	under.LimitUnsent(maxUnsent) // fails for unix sockets, which need none
	under.SpoolTo(&o.spool)
}

// Writing says that frames are on their way to the socket.
func (o *Output) Writing() bool { return o.writing }

// Stuck says that the peer takes less than it is given.
func (o *Output) Stuck() bool { return o.stuck }

// Room says whether more body bytes may be appended now.
func (o *Output) Room() bool {
	return !o.stuck && len(o.Out) <= o.gathered-leastFrame && o.Broken == nil
}

// Fit is how many of n body bytes the next frame takes. There must be Room.
func (o *Output) Fit(n int64) int64 { return min(n, int64(o.gathered-len(o.Out)-HeaderSize), MaxFrame) }

// Frame appends the header of a frame.
func (o *Output) Frame(size int, kind h2.FrameType, flags h2.Flags, stream uint32) {
	if o.pooled == nil {
		o.pooled = outputs.Get().(*[]byte)
		o.Out = (*o.pooled)[:0]
	}
	o.Out = append(o.Out, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// Preface appends what a client's connection begins with.
func (o *Output) Preface() {
	o.Frame(0, 0, 0, 0) // takes a buffer
	o.Out = append(o.Out[:0], h2.ClientPreface...)
}

// frame32 appends a frame with a payload of a number.
func (o *Output) frame32(kind h2.FrameType, stream uint32, v uint32) {
	o.Frame(4, kind, 0, stream)
	o.Out = binary.BigEndian.AppendUint32(o.Out, v)
}

// Reset appends RST_STREAM.
func (o *Output) Reset(stream uint32, code h2.ErrCode) {
	o.frame32(h2.FrameRSTStream, stream, uint32(code))
}

// Window appends WINDOW_UPDATE; stream 0 stands for the connection.
func (o *Output) Window(stream uint32, n int64) {
	o.frame32(h2.FrameWindowUpdate, stream, uint32(n))
}

// GoAway appends GOAWAY.
func (o *Output) GoAway(last uint32, code h2.ErrCode, text string) {
	o.Frame(8+len(text), h2.FrameGoAway, 0, 0)
	o.Out = binary.BigEndian.AppendUint32(o.Out, last)
	o.Out = append(binary.BigEndian.AppendUint32(o.Out, uint32(code)), text...)
}

// Ping appends PING, or the answer to one.
func (o *Output) Ping(ack bool, data [8]byte) {
	flags := h2.Flags(0)
	if ack {
		flags = h2.FlagPingAck
		o.Acks++
	}
	o.Frame(len(data), h2.FramePing, flags, 0)
	o.Out = append(o.Out, data[:]...)
}

// Settings appends SETTINGS.
func (o *Output) Settings(list ...h2.Setting) {
	o.Frame(6*len(list), h2.FrameSettings, 0, 0)
	for _, s := range list {
		o.Out = binary.BigEndian.AppendUint16(o.Out, uint16(s.ID))
		o.Out = binary.BigEndian.AppendUint32(o.Out, s.Val)
	}
}

// AckSettings appends the answer to SETTINGS.
func (o *Output) AckSettings() {
	o.Frame(0, h2.FrameSettings, h2.FlagSettingsAck, 0)
	o.Acks++
}

// Data appends DATA, and returns where its header is.
func (o *Output) Data(stream uint32, p []byte) (at int) {
	o.Frame(len(p), h2.FrameData, 0, stream)
	at = len(o.Out) - HeaderSize
	o.Out = append(o.Out, p...)
	return at
}

// EndAt makes the frame at that place the last one of its stream, if it is still there: it was
// appended in that round.
func (o *Output) EndAt(at int, round uint64) bool {
	if at < 0 || round != o.Round || len(o.Out) == 0 {
		return false
	}
	o.Out[at+4] |= byte(h2.FlagDataEndStream) // the same bit in HEADERS
	return true
}

// Block appends a header block, in as many frames as it takes, and returns where the first one
// is.
func (o *Output) Block(stream uint32, block []byte, flags h2.Flags) (at int) {
	kind := h2.FrameHeaders
	for first := true; ; first = false {
		n := min(len(block), MaxFrame)
		if n == len(block) {
			flags |= h2.FlagHeadersEndHeaders
		}
		o.Frame(n, kind, flags, stream)
		if first {
			at = len(o.Out) - HeaderSize
		}
		o.Out = append(o.Out, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return at
		}
		kind, flags = h2.FrameContinuation, 0
	}
}

// Flush writes what is gathered, unless another goroutine does. The lock is held, but not while
// bytes are written, which never waits.
func (o *Output) Flush() {
	if o.writing || o.Broken != nil {
		return
	}
	o.writing = true
	for len(o.Out) > 0 && o.Broken == nil {
		out, pooled := o.Out, o.pooled
		o.Out, o.pooled = nil, nil
		o.Round++
		o.mu.Unlock()
		kept, err := o.put(out)
		if cap(out) <= pooledOutput {
			*pooled = out[:0]
			outputs.Put(pooled)
		}
		o.mu.Lock()
		if err != nil {
			o.fail(err)
			break
		}
		if kept > 0 {
			o.stuck = true
			go o.drain(kept) // which goes on with writing
			return
		}
		if o.gathered < Gathered {
			o.gather(2 * o.gathered)
		}
		o.Acks = 0
		o.owner.Pump()
	}
	o.writing = false
	o.Drained.Broadcast()
}

// put writes p, and says how many bytes the socket did not take.
func (o *Output) put(p []byte) (kept int, err error) {
	corked := o.nc != o.under && len(p) > record
	if corked {
		o.spool.Cork()
	}
	_, err = o.nc.Write(p)
	if corked {
		if e := o.spool.Uncork(); err == nil {
			err = e
		}
	}
	return o.spool.Kept(), err
}

// drain writes the bytes that the socket did not take, kept of them, and what is gathered meanwhile.
func (o *Output) drain(kept int) {
	began := time.Now()
	err := o.spool.Drain(&o.pace)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gather(int(int64(kept) * int64(ahead) / max(int64(time.Since(began)), 1)))
	o.writing, o.stuck = false, false
	if err != nil {
		o.fail(err)
		o.Drained.Broadcast()
		return
	}
	o.Acks = 0
	o.owner.Pump()
	o.Drained.Broadcast()
	o.Flush()
}

// gather makes n bytes, as far as the bounds allow, what is gathered from now on. A peer stays slow until it takes
// Gathered at once.
func (o *Output) gather(n int) {
	o.gathered = min(max(n, MaxFrame), Gathered)
	switch {
	case !o.slow && o.gathered == MaxFrame:
		o.slow = true
		o.under.LimitUnsent(slowUnsent)
	case o.slow && o.gathered == Gathered:
		o.slow = false
		o.under.LimitUnsent(maxUnsent)
	}
}

func (o *Output) fail(err error) {
	if o.Broken == nil {
		o.Broken = err
		o.owner.Failed()
	}
}
