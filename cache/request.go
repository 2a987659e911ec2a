package cache

import (
	"weir/cache/rule"
)

// Request is a request on its way through a Store. The caller fills what
// rule.Request says and may use the struct again for the next one. It belongs
// to one goroutine.
type Request struct {
	rule.Request
	hash uint64
	// variation is that of Key, nil if Key is the exact one; then exact has the exact one.
	variation *rule.Variation
	exact     []byte
	doubted   int64  // what was received until then must be validated, in ns
	variant   []byte // scratch for the variant's text
	head      []byte // scratch for heads of 206 and the like
}

// Reset forgets what q points to, but keeps its buffers.
func (q *Request) Reset() {
	*q = Request{Request: rule.Request{Key: q.Key[:0]}, exact: q.exact[:0], variant: q.variant[:0], head: q.head[:0]}
}

// prepare works out everything that depends on the request and the store alone.
func (q *Request) prepare(s *Store) {
	q.Prepare()
	q.hash, q.variation = s.hash(q.Key), nil
	q.doubted = s.doubted.Load()
}

// selects says whether the entry is the variant that the request asks for.
func (q *Request) selects(e *Entry) bool {
	if len(e.Vary) == 0 {
		return true
	}
	q.variant = q.AppendVariant(q.variant[:0], e.Vary)
	return string(q.variant) == e.variant
}

// judge says whether the entry may answer the request now.
func (q *Request) judge(e *Entry) (rule.Outcome, rule.Reason) {
	if e.doubtful(q.doubted) {
		return rule.Revalidate, rule.ReasonPurged
	}
	return e.Judge(e.purged.Load(), &q.Control, q.At)
}

// mayAnswer says whether the entry may answer, although stale, because the
// origin failed.
func (q *Request) mayAnswer(e *Entry, failure rule.Failure) (rule.Reason, bool) {
	if e.doubtful(q.doubted) {
		return rule.ReasonNone, false
	}
	return e.MayAnswer(e.purged.Load(), &q.Control, q.At, failure)
}

// spans are the parts of an entry that the request asks for. whole says that it
// gets everything.
func (q *Request) spans(e *Entry) (list []rule.Span, whole bool) {
	list, whole = e.Spans(&q.Request)
	if len(list) > 1 && e.body == nil && e.blob == nil && e.Length > 0 {
		return nil, true // several parts of what is still arriving: all of it
	}
	return list, whole
}

// TTL is for how many seconds the entry stays fresh; negative if it is stale.
func (q *Request) TTL(e *Entry) int64 { return e.TTL(e.purged.Load(), q.At) }
