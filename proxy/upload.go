package proxy

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/head"
	"weir/internal/sock"
)

// uploadState is how far an upload has come.
type uploadState = uint32

const (
	// uploadNone: the attempt has no upload.
	uploadNone uploadState = iota
	// uploadRunning: the end of the body was not read yet.
	uploadRunning
	// uploadRead: the last byte was read. The upload says so before that byte leaves, so that an exchange
	// which sees the answer to the whole request also sees that the request is whole.
	uploadRead
)

// upload moves a request body to the target on a goroutine of its own, so that
// an answer that comes early is seen, and both directions can stream at once.
type upload struct {
	state atomic.Uint32
	// stopping is set before the upload is stopped: what fails from then on is the fault of
	// neither side.
	stopping atomic.Bool
	done     chan struct{}
	// answered stops the upload from arming the limit of the first byte; mu guards it.
	mu       sync.Mutex
	answered bool
	// keep is how much of the body may be kept for another attempt; 0: none. lost says that not all
	// that was read of the body is kept.
	keep  int
	lost  atomic.Bool
	err   *attemptError // what ended the attempt; read after done
	whole bool          // all of the body was written; read after done
}

// started says whether the attempt has an upload.
func (u *upload) started() bool { return u.state.Load() != uploadNone }

// running says that the end of the body has not been read yet.
func (u *upload) running() bool { return u.state.Load() == uploadRunning }

// ended says that the goroutine is over.
func (u *upload) ended() bool {
	select {
	case <-u.done:
		return true
	default:
		return false
	}
}

// startUpload begins to send the rest of the request's body. Time limits are those of a write, and of the response's head
// once the body has ended; 0 means no limit.
func (a *attempt) startUpload(writeLimit, firstByte time.Duration) {
	x, u := a.x, &a.upload
	u.done = make(chan struct{})
	if retry := a.upstream.Set.Retry(); retry.Attempts > 1 && x.Body.Left() <= int64(retry.Body) && (x.repeatable() || a.stream.Refuses()) {
		u.keep = retry.Body
	}
	u.lost.Store(x.Body.Seen() != int64(len(x.held)))
	u.state.Store(uploadRunning)
	go a.runUpload(writeLimit, firstByte)
}

// stopUpload ends the upload if there is one and waits for it. It reports
// whether the whole request was written.
func (a *attempt) stopUpload() bool {
	u := &a.upload
	if !u.started() {
		return a.x.Body.Done()
	}
	if !u.ended() {
		u.stopping.Store(true)
		front, paused := a.x.Client.Front, u.running()
		if paused {
			front.PauseReading()
		}
		a.stream.InterruptWrite()
		<-u.done
		a.stream.Unlimit()
		if paused {
			front.ResumeReading()
		}
	}
	return u.whole
}

// sentWhole says whether the request's body had come to its end when the answer came, and
// has left whole.
func (a *attempt) sentWhole() bool {
	u := &a.upload
	switch {
	case !u.started():
		return a.x.Body.Done()
	case u.running():
		return false
	}
	<-u.done // no longer than the last write
	return u.whole
}

// uploadError is why the upload ended the attempt, if the upload has been stopped.
func (a *attempt) uploadError() *attemptError {
	if !a.upload.started() {
		return nil
	}
	return a.upload.err
}

// runUpload is the goroutine of the upload. Of the exchange it uses only Body, held and
// the taps of that direction, which are its own until it ends.
func (a *attempt) runUpload(writeLimit, firstByte time.Duration) {
	x, u := a.x, &a.upload
	defer close(u.done)
	defer func() {
		if v := recover(); v != nil {
			x.proxy.metrics.Panicked(x.proxy.log, v)
			u.err = &attemptError{cause: CausePanic, err: fmt.Errorf("panic: %v", v), sent: true, fault: faultOurs}
			a.stream.Cut()
		}
	}()
	var buf buffer
	defer buf.release()
	if x.Request.Version < head.HTTP2 { // frames have memory of their own
		buf.take(uploadBuffer)
	}
	chunked := x.chunked()
	w := a.stream.BodyWriter(chunked, writeLimit)
	maxBody := x.Route.maxBody
	for {
		piece, err := x.Body.Next(buf.bytes)
		switch {
		case err == nil:
		case x.Body.Done():
			x.taps.end(ToTarget)
			a.bodyRead()
			a.uploaded(w.Finish(x.requestTrailer()), firstByte)
			return
		default:
			a.uploadFailed(err)
			return
		}
		if maxBody > 0 && x.Body.Seen() > maxBody {
			a.uploadFailed(errBodyTooLarge)
			return
		}
		x.taps.see(ToTarget, piece)
		if x.Body.Seen() <= int64(u.keep) {
			x.held = append(x.held, piece...)
		} else {
			u.lost.Store(true)
		}
		last := x.Body.Done()
		if last {
			x.taps.end(ToTarget)
			a.bodyRead()
		}
		if err = w.Write(piece); err == nil && (last || !x.Body.Ready()) {
			err = w.Flush()
		}
		if err != nil || last && !chunked {
			a.uploaded(err, firstByte)
			return
		}
		buf.fit(len(piece))
	}
}

// uploadBuffer is the size of the first buffer of an upload, of which there may be many whose clients send
// nothing.
const uploadBuffer = 16 << 10

var (
	errBodyTooLarge = errors.New("request body exceeds the route's max_body")
	errBufferFull   = errors.New("request body of unknown length exceeds the route's buffer_request")
)

// bodyRead notes that the last byte of the body came, before it leaves.
func (a *attempt) bodyRead() {
	u := &a.upload
	u.mu.Lock()
	if !u.answered {
		a.asked = time.Now()
	}
	u.mu.Unlock()
	u.state.Store(uploadRead)
}

// uploadFailed notes what the client did wrong and ends the attempt for good: the
// target must not take what it got for the whole request.
func (a *attempt) uploadFailed(err error) {
	u := &a.upload
	if u.stopping.Load() {
		return
	}
	u.err = &attemptError{cause: requestCause(err), err: err, sent: true, fault: faultClient}
	a.stream.Cut()
}

// requestCause names why the request's body did not come to its end.
func requestCause(err error) Cause {
	var d *head.Defect
	switch {
	case errors.As(err, &d):
		return CauseBadRequest
	case err == errBodyTooLarge, err == errBufferFull:
		return CauseBodyTooLarge
	}
	return clientCause(err)
}

// uploaded notes how the last write went. A target that broke the
// connection may have answered before: that is for the reader to find out.
// A target that has just not read for too long ends the attempt, unless it answers
// already.
func (a *attempt) uploaded(err error, firstByte time.Duration) {
	u := &a.upload
	switch {
	case err == nil:
		u.whole = true
	case u.stopping.Load():
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.answered:
	case err != nil && sock.TimedOut(err):
		u.err = a.x.inWords(&attemptError{cause: CauseWriteTimeout, err: err, sent: true})
		a.stream.InterruptRead()
	case firstByte > 0:
		end := time.Now().Add(firstByte)
		if a.x.time.late(end) {
			end = a.x.time.deadline
		}
		if a.stream.InterruptFrom(end); a.x.cancel().Canceled() {
			a.stream.Interrupt() // which the new limit has taken back
		}
	}
}

// headSeen is called when the response's head is there: from now on the limits
// of its body hold.
func (a *attempt) headSeen() {
	u := &a.upload
	if !u.started() {
		return
	}
	u.mu.Lock()
	u.answered = true
	u.mu.Unlock()
	a.stream.InterruptFrom(time.Time{})
}
