package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// epoll drives all connections from one thread.
type epoll struct {
	opt    Options
	addr   unix.Sockaddr
	family int
	fd     int
	conns  []epollConn
	free   ring  // connections that wait for a request
	dead   []int // connections that could not be opened again
	buf    []byte
	events []unix.EpollEvent
	base   time.Time
	next   int  // request
	coarse bool // the kernel has no epoll_pwait2
}

type epollConn struct {
	fd    int
	busy  bool
	at    int64  // when its request counts from
	sent  int64  // when it was really sent
	out   []byte // what the socket did not take yet
	resp  response
	armed bool // waits for the socket to take more
}

func newEpoll(opt Options) (driver, error) {
	tcp, err := net.ResolveTCPAddr("tcp", opt.Address)
	if err != nil {
		return nil, fmt.Errorf("cannot resolve %q: %w", opt.Address, err)
	}
	e := &epoll{opt: opt, base: time.Now(), buf: make([]byte, 256<<10), events: make([]unix.EpollEvent, 256)}
	if ip := tcp.IP.To4(); ip != nil {
		e.family = unix.AF_INET
		e.addr = &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(ip)}
	} else {
		e.family = unix.AF_INET6
		e.addr = &unix.SockaddrInet6{Port: tcp.Port, Addr: [16]byte(tcp.IP.To16())}
	}
	e.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot create an epoll instance: %w", err)
	}
	e.conns = make([]epollConn, opt.Connections)
	e.free.slots = make([]int, opt.Connections)
	for i := range e.conns {
		e.conns[i].fd = -1
	}
	for i := range e.conns {
		if err := e.dial(i); err != nil {
			e.close()
			return nil, fmt.Errorf("cannot connect to %q: %w", opt.Address, err)
		}
		e.free.push(i)
	}
	return e, nil
}

func (e *epoll) dial(i int) error {
	fd, err := unix.Socket(e.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	// The send timeout bounds the blocking connect.
	tv := unix.NsecToTimeval(int64(e.opt.Timeout))
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	if err == nil {
		err = unix.Connect(fd, e.addr)
	}
	for err == unix.EINTR { // the runtime's signals interrupt a connect; it goes on
		err = unix.Connect(fd, e.addr)
		if err == unix.EISCONN {
			err = nil
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
	}
	if err != nil {
		_ = unix.Close(fd) // the first error tells
		return err
	}
	e.conns[i].fd = fd
	e.conns[i].armed = false
	return nil
}

func (e *epoll) close() {
	for i := range e.conns {
		if e.conns[i].fd >= 0 {
			_ = unix.Close(e.conns[i].fd) // nothing is in flight that could be lost
		}
	}
	_ = unix.Close(e.fd)
}

func (e *epoll) now() int64 { return int64(time.Since(e.base)) }

// epollPhase is the state of one phase.
type epollPhase struct {
	Phase
	out      *tally
	start    int64
	until    int64 // 0: no end
	issued   int64
	inflight int
	progress int64 // when an exchange last began or ended
}

// run is the event loop of one phase.
func (e *epoll) run(p Phase, out *tally) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if p.Rate > 0 {
		sharpen()
	}
	ph := &epollPhase{Phase: p, out: out, start: e.now()}
	ph.progress = ph.start
	if p.Duration > 0 {
		ph.until = ph.start + int64(p.Duration)
	}
	swept, abandoned := ph.start, false
	for {
		wait := e.issue(ph)
		if ph.inflight == 0 && !ph.more(e.now()) {
			break
		}
		n, err := e.wait(wait)
		if err != nil && err != unix.EINTR {
			panic("BUG: epoll_wait: " + err.Error())
		}
		for i := range max(n, 0) {
			e.handle(ph, int(e.events[i].Fd), e.events[i].Events)
		}
		now := e.now()
		if now-swept > int64(100*time.Millisecond) {
			swept = now
			e.sweep(ph, now)
			select {
			case <-ph.Abandon:
				out.abandon()
				ph.until, abandoned = now, true
			case <-ph.Stop:
				ph.until = now
			default:
			}
			if abandoned || ph.stuck(now, int64(e.opt.Timeout)) {
				e.giveUp(ph, now)
				break
			}
		}
	}
	return time.Duration(e.now() - ph.start)
}

// more says whether the phase still has requests to start.
func (ph *epollPhase) more(now int64) bool {
	if ph.Requests > 0 && ph.issued >= ph.Requests {
		return false
	}
	return ph.until == 0 || now < ph.until
}

// stuck says whether the phase ends because nothing is answered.
func (ph *epollPhase) stuck(now, timeout int64) bool {
	if ph.Persist {
		// An open phase with a server that is gone ends some time after the last request was due.
		return ph.Rate > 0 && now > ph.dueAt(ph.Requests)+timeout && now-ph.progress > timeout
	}
	return now-ph.progress > timeout
}

// due is when the next request of an open phase should start.
func (ph *epollPhase) due() int64 { return ph.dueAt(ph.issued) }

func (ph *epollPhase) dueAt(k int64) int64 { return ph.start + int64(float64(k)*1e9/ph.Rate) }

// issue starts what can start now and says how long nothing else will be due.
func (e *epoll) issue(ph *epollPhase) time.Duration {
	const idle = 100 * time.Millisecond
	for e.free.len > 0 {
		now := e.now()
		if !ph.more(now) {
			return idle
		}
		at := now
		if ph.Rate > 0 {
			if at = ph.due(); at > now {
				return min(time.Duration(at-now), idle)
			}
		}
		i := e.free.pop()
		ph.issued++
		ph.inflight++
		ph.progress = now
		e.send(ph, i, at, now)
	}
	return idle
}

func (e *epoll) send(ph *epollPhase, i int, at, now int64) {
	c := &e.conns[i]
	c.busy, c.at, c.sent = true, at, now
	c.out = e.opt.Requests[e.next]
	c.resp.reset(c.out)
	if e.next++; e.next == len(e.opt.Requests) {
		e.next = 0
	}
	e.flush(ph, i)
}

// flush writes what the socket takes and asks for a wake-up if some is left.
func (e *epoll) flush(ph *epollPhase, i int) {
	c := &e.conns[i]
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EAGAIN {
			if !c.armed {
				e.arm(i, true)
			}
			return
		}
		if err != nil {
			e.fail(ph, i, causeOf(err))
			return
		}
		c.out = c.out[n:]
	}
	if c.armed {
		e.arm(i, false)
	}
}

func (e *epoll) arm(i int, on bool) {
	c := &e.conns[i]
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
	if on {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_MOD, c.fd, &ev); err != nil {
		panic("BUG: epoll_ctl: " + err.Error())
	}
	c.armed = on
}

func (e *epoll) handle(ph *epollPhase, i int, events uint32) {
	c := &e.conns[i]
	if c.fd < 0 {
		return // closed by an earlier event of the same batch
	}
	if events&unix.EPOLLOUT != 0 && c.busy {
		e.flush(ph, i)
		if !c.busy {
			return
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return
	}
	n, err := unix.Read(c.fd, e.buf)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err == nil && n == 0:
		err = io.EOF
	}
	if !c.busy {
		// Closed, or bytes that no request asked for, between two exchanges.
		if err == nil {
			ph.out.failed(causeExtra)
		}
		ph.out.reconnected()
		e.free.remove(i)
		e.reopen(i)
		return
	}
	ended := err == io.EOF && c.resp.part == toClose
	if err != nil && !ended {
		e.fail(ph, i, causeOf(err))
		return
	}
	used, done, err := c.resp.feed(e.buf[:n])
	done = done || ended
	switch {
	case err != nil:
		e.fail(ph, i, err.Error())
	case done && used < n:
		e.fail(ph, i, causeExtra)
	case done:
		now := e.now()
		ph.out.answered(c.resp.answer(), now-c.at)
		ph.progress = now
		ph.inflight--
		c.busy = false
		if c.resp.closing {
			ph.out.reconnected()
			e.reopen(i)
			return
		}
		e.free.push(i)
	}
}

// fail ends an exchange that was not answered as expected.
func (e *epoll) fail(ph *epollPhase, i int, cause string) {
	c := &e.conns[i]
	now := e.now()
	ph.out.failed(cause)
	if cause == causeTimeout {
		ph.out.record(now - c.at)
	}
	ph.inflight--
	c.busy = false
	c.out = nil
	e.reopen(i)
}

// reopen replaces a connection; one that cannot be opened waits for sweep.
func (e *epoll) reopen(i int) {
	c := &e.conns[i]
	if c.fd >= 0 {
		_ = unix.Close(c.fd) // replaced whatever it says
		c.fd = -1
	}
	if err := e.dial(i); err != nil {
		e.dead = append(e.dead, i)
		return
	}
	e.free.push(i)
}

// sweep ends exchanges that wait too long and opens dead connections again.
func (e *epoll) sweep(ph *epollPhase, now int64) {
	dead := e.dead
	e.dead = nil
	for _, i := range dead {
		ph.out.failed(causeConnect)
		e.reopen(i)
	}
	for i := range e.conns {
		if c := &e.conns[i]; c.busy && now-c.sent > int64(e.opt.Timeout) {
			e.fail(ph, i, causeTimeout)
		}
	}
}

// giveUp ends a phase without progress: all it still owed has failed; what was
// due has waited.
func (e *epoll) giveUp(ph *epollPhase, now int64) {
	for i := range e.conns {
		if e.conns[i].busy {
			e.fail(ph, i, causeTimeout)
		}
	}
	if ph.Rate > 0 && ph.until == 0 {
		for ; ph.issued < ph.Requests; ph.issued++ {
			ph.out.failed(causeTimeout)
			if waited := now - ph.due(); waited >= 0 {
				ph.out.record(waited)
			}
		}
	}
}

// wait is epoll_pwait2, whose timeout has nanoseconds, or else epoll_wait.
func (e *epoll) wait(d time.Duration) (int, error) {
	if !e.coarse {
		ts := unix.NsecToTimespec(int64(d))
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(e.fd),
			uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)),
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if !errors.Is(errno, syscall.ENOSYS) {
			return 0, errno
		}
		e.coarse = true
	}
	return unix.EpollWait(e.fd, e.events, int(d/time.Millisecond))
}

// ring is a queue of connection numbers, so that each gets its turn.
type ring struct {
	slots      []int
	first, len int
}

func (r *ring) push(i int) {
	r.slots[(r.first+r.len)%len(r.slots)] = i
	r.len++
}

func (r *ring) pop() int {
	i := r.slots[r.first]
	r.first = (r.first + 1) % len(r.slots)
	r.len--
	return i
}

func (r *ring) remove(i int) {
	n := r.len
	for range n {
		if j := r.pop(); j != i {
			r.push(j)
		}
	}
}
