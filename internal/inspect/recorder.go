package inspect

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/admin"
)

// Recorder keeps exchanges over all configurations of a server. It implements admin.Inspector.
type Recorder struct {
	// passing counts the bytes of bodies that are recorded at this moment, room bounds them.
	passing, room atomic.Int64
	skipped       atomic.Int64

	mu   sync.Mutex
	plan *Plan // nil if nothing is recorded
	// last is the number of the last exchange.
	last     uint64
	recorded int64
	rings    [kinds]ring
	streams  int
	// allowed counts how many exchanges that were not sampled may still be kept in this second.
	allowed int
	second  int64
}

// kind is the ring that keeps an exchange.
type kind uint8

const (
	recent kind = iota
	failed
	slow
	imported

	kinds
)

var kindNames = [kinds]string{recent: admin.KindRecent, failed: admin.KindFailed, slow: admin.KindSlow, imported: admin.KindImported}

// shares are the eighths of the memory that each ring has. The last one is for bodies that pass.
var shares = [kinds]int64{recent: 3, failed: 1, slow: 1, imported: 2}

func kindNamed(name string) kind {
	for k, n := range kindNames {
		if n == name {
			return kind(k)
		}
	}
	return kinds
}

// NewRecorder returns a Recorder that keeps nothing until Use gives it a plan.
func NewRecorder() *Recorder {
	// Numbers go on over restarts, so that an id does not name two exchanges.
	return &Recorder{last: uint64(time.Now().UnixMilli())}
}

// Use makes p the plan in force. With nil all that is kept is forgotten.
func (r *Recorder) Use(p *Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = p
	budget := int64(0)
	if p != nil {
		budget = p.budget
	}
	r.room.Store(budget / 8)
	for k := range r.rings {
		r.rings[k].setBudget(budget * shares[k] / 8)
	}
}

// reserve takes memory for n bytes of a body that passes.
func (r *Recorder) reserve(n int64) bool {
	if r.passing.Add(n) > r.room.Load() {
		r.passing.Add(-n)
		return false
	}
	return true
}

// maxUnsampled bounds the exchanges of one second that are kept though they were not sampled: when
// everything fails, a few say it all.
const maxUnsampled = 100

// admit says whether an exchange that was not sampled may be kept.
func (r *Recorder) admit() bool {
	now := time.Now().Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now != r.second {
		r.second, r.allowed = now, maxUnsampled
	}
	if r.allowed == 0 {
		r.skipped.Add(1)
		return false
	}
	r.allowed--
	return true
}

// keep gives k its number and keeps it.
func (r *Recorder) keep(k *kept) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.plan == nil {
		return
	}
	r.recorded++
	r.add(k)
}

// add gives k its number and puts it into its ring. It returns false if there is no room. r.mu is
// held.
func (r *Recorder) add(k *kept) bool {
	r.last++
	k.number, k.ID = r.last, strconv.FormatUint(r.last, 36)
	k.measure()
	ring := &r.rings[kindNamed(k.Kind)]
	return ring.push(k) || ring.push(k.withoutBodies())
}

// State implements admin.Inspector.
func (r *Recorder) State() admin.InspectState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := admin.InspectState{
		Enabled: r.plan != nil, Used: r.passing.Load(), Recorded: r.recorded, Skipped: r.skipped.Load(), Streams: r.streams,
		Failed: len(r.rings[failed].all()), Slow: len(r.rings[slow].all()), Imported: len(r.rings[imported].all()),
		Routes: []admin.InspectedRoute{},
	}
	if r.plan != nil {
		s.Budget, s.Routes = r.plan.budget, append(s.Routes, r.plan.list...)
	}
	for k := range r.rings {
		s.Used += r.rings[k].used
		s.Exchanges += len(r.rings[k].all())
	}
	return s
}

// Clear implements admin.Inspector.
func (r *Recorder) Clear() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.rings {
		n += r.rings[k].clear()
	}
	return n
}

// Detail implements admin.Inspector.
func (r *Recorder) Detail(id string) *admin.ExchangeDetail {
	if k := r.find(id); k != nil {
		return k.detail()
	}
	return nil
}

func (r *Recorder) find(id string) *kept {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := number(strings.ToLower(id))
	for i := range r.rings {
		if k := r.rings[i].find(n); k != nil {
			return k
		}
	}
	return nil
}

// Exchanges implements admin.Inspector.
func (r *Recorder) Exchanges(q admin.ExchangeQuery) (list []admin.Exchange, next string, err error) {
	found, more, err := r.choose(q)
	if err != nil {
		return nil, "", err
	}
	list = make([]admin.Exchange, len(found))
	for i, k := range found {
		list[i] = k.Exchange
	}
	if more {
		next = found[len(found)-1].ID
	}
	return list, next, nil
}

// Details implements admin.Inspector.
func (r *Recorder) Details(q admin.ExchangeQuery) ([]*admin.ExchangeDetail, error) {
	found, _, err := r.choose(q)
	list := make([]*admin.ExchangeDetail, len(found))
	for i, k := range found {
		list[i] = k.detail()
	}
	return list, err
}

// choose returns the newest exchanges that q chooses, newest first; more says that there are
// earlier ones.
func (r *Recorder) choose(q admin.ExchangeQuery) (found []*kept, more bool, err error) {
	f, err := newFilter(q.Filter)
	if err != nil {
		return nil, false, err
	}
	ids := make(map[uint64]bool, len(q.IDs))
	for _, id := range q.IDs {
		ids[number(strings.ToLower(id))] = true
	}
	before := ^uint64(0)
	if q.Before != "" {
		before = number(strings.ToLower(q.Before))
	}
	for k := range r.newestFirst(q.Ring) {
		if k.number >= before || len(ids) > 0 && !ids[k.number] || !f.fits(k) {
			continue
		}
		if len(found) == q.Limit {
			return found, true, nil
		}
		found = append(found, k)
	}
	return found, false, nil
}

// newestFirst yields the exchanges of a ring, or of all. It looks at a copy of the lists, so that
// recording does not wait.
func (r *Recorder) newestFirst(ring string) func(yield func(*kept) bool) {
	var lists [kinds][]*kept
	r.mu.Lock()
	for k := range r.rings {
		if ring == "" || ring == "all" || ring == kindNames[k] {
			lists[k] = append([]*kept(nil), r.rings[k].all()...)
		}
	}
	r.mu.Unlock()
	return func(yield func(*kept) bool) {
		for {
			var newest *kept
			from := 0
			for i, list := range lists {
				if n := len(list); n > 0 && (newest == nil || list[n-1].number > newest.number) {
					newest, from = list[n-1], i
				}
			}
			if newest == nil || !yield(newest) {
				return
			}
			lists[from] = lists[from][:len(lists[from])-1]
		}
	}
}
