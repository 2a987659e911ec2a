// Package figures counts what exchanges did: how many, how long, in which phases. Its types are
// counted into by many goroutines at once, without locks and without allocating but for the
// first duration of a range.
package figures

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Format is how histograms are written.
type Format uint8

const (
	// LE writes buckets of Prometheus: each counts all durations up to its bound, le.
	LE Format = iota
	// VMRange writes buckets of VictoriaMetrics: each counts those of its own range, vmrange, and
	// empty ones are left out.
	VMRange
)

// The buckets of a histogram: those of VictoriaMetrics, 18 for each power of ten, split at the
// bounds of LE, so that both formats are exact.
const (
	decades   = 10 // from 1 microsecond to 10,000 seconds
	perDecade = 22
	shortest  = time.Microsecond
	buckets   = decades * perDecade
)

// leBounds are the bounds of LE.
var leBounds = [...]time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// ends are the upper ends of the buckets, which belong to them, in ascending order.
var ends = func() (list [buckets]time.Duration) {
	at := list[:0]
	for d := range decades {
		start := float64(shortest) * math.Pow10(d)
		for i := 1; i <= 18; i++ {
			at = append(at, time.Duration(math.Round(start*math.Pow(10, float64(i)/18))))
		}
		for _, bound := range [...]float64{2.5, 3, 5, 6} {
			at = append(at, time.Duration(start*bound))
		}
	}
	slices.Sort(at)
	return list
}()

// starts are the first buckets that durations may be in, by how many bits they have and by the three bits
// after the first. Shorter ones than shortest are in none.
var starts = func() (list [64][8]uint8) {
	for n := 4; n < len(list); n++ {
		for next := range list[n] {
			least := time.Duration(8+next) << (n - 4)
			i, _ := slices.BinarySearch(ends[:], least)
			list[n][next] = uint8(i)
		}
	}
	return list
}()

// bucketName is the label of one bucket that is written, and the last of ends that it counts.
type bucketName struct {
	text string
	end  int
}

var leBuckets = func() (list [len(leBounds)]bucketName) {
	for i, at := range leBounds {
		list[i] = bucketName{strconv.FormatFloat(at.Seconds(), 'g', -1, 64), slices.Index(ends[:], at)}
	}
	return list
}()

var vmBuckets = func() (list [decades * 18]bucketName) {
	from, step := shortest.Seconds(), math.Pow(10, 1.0/18)
	for i := range list {
		at := time.Duration(math.Round(float64(shortest) * math.Pow10(i/18) * math.Pow(10, float64(i%18+1)/18)))
		to := from * step
		list[i] = bucketName{fmt.Sprintf("%.3e...%.3e", from, to), slices.Index(ends[:], at)}
		from = to
	}
	return list
}()

// Histogram counts durations. The zero value is ready.
type Histogram struct {
	// decades are made when they are first needed: most things take times of few of them.
	decades [decades]atomic.Pointer[[perDecade]atomic.Uint64]
	// below and above count what is outside of the buckets.
	below, above atomic.Uint64
	sum          atomic.Int64 // nanoseconds
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	h.sum.Add(int64(d))
	h.at(d).Add(1)
}

// at returns the counter of d.
func (h *Histogram) at(d time.Duration) *atomic.Uint64 {
	if d <= shortest {
		return &h.below
	}
	n := bits.Len64(uint64(d))
	i := int(starts[n%64][d>>(uint(n-4)%64)&7])
	for i < buckets && d > ends[i] {
		i++
	}
	if i == buckets {
		return &h.above
	}
	return &h.decade(i / perDecade)[i%perDecade]
}

// decade returns the counters of a power of ten.
func (h *Histogram) decade(i int) *[perDecade]atomic.Uint64 {
	at := &h.decades[i]
	decade := at.Load()
	if decade == nil {
		at.CompareAndSwap(nil, new([perDecade]atomic.Uint64))
		decade = at.Load()
	}
	return decade
}

// merge adds what another histogram has counted.
func (h *Histogram) merge(c *Counts) {
	h.below.Add(c.below)
	h.above.Add(c.above)
	h.sum.Add(int64(c.Sum))
	for d, from := range c.decades {
		if from == nil {
			continue
		}
		to := h.decade(d)
		for i, n := range from {
			to[i].Add(n)
		}
	}
}

// Counts are those of a histogram at one time.
type Counts struct {
	below, above uint64
	decades      [decades]*[perDecade]uint64 // nil: nothing
	// Total is how many durations were counted, Sum is their sum.
	Total uint64
	Sum   time.Duration
}

// Counts returns what h has counted.
func (h *Histogram) Counts() Counts {
	c := Counts{below: h.below.Load(), above: h.above.Load(), Sum: time.Duration(h.sum.Load())}
	c.Total = c.below + c.above
	for d := range h.decades {
		decade := h.decades[d].Load()
		if decade == nil {
			continue
		}
		c.decades[d] = new([perDecade]uint64)
		for i := range decade {
			n := decade[i].Load()
			c.decades[d][i] = n
			c.Total += n
		}
	}
	return c
}

// combine makes c what op says of each of its numbers and that of b.
func (c *Counts) combine(b *Counts, op func(x, y uint64) uint64) {
	c.below, c.above, c.Total = op(c.below, b.below), op(c.above, b.above), op(c.Total, b.Total)
	c.Sum = time.Duration(op(uint64(c.Sum), uint64(b.Sum)))
	for d := range c.decades {
		if b.decades[d] == nil {
			continue
		}
		sum := new([perDecade]uint64) // copies of c may share the old one
		if c.decades[d] != nil {
			*sum = *c.decades[d]
		}
		for i, n := range b.decades[d] {
			sum[i] = op(sum[i], n)
		}
		c.decades[d] = sum
	}
}

// Quantile returns an estimate of the duration that share (0 to 1) of all durations are not
// longer than; it is off by less than 14 % for those of 1 microsecond to 10,000 seconds, the width of a bucket. It is
// 0 if nothing was counted.
func (c *Counts) Quantile(share float64) time.Duration {
	if c.Total == 0 {
		return 0
	}
	rank := share * float64(c.Total)
	seen := float64(c.below)
	if rank <= seen {
		return shortest
	}
	from := shortest
	for i, to := range ends {
		if decade := c.decades[i/perDecade]; decade != nil && decade[i%perDecade] > 0 {
			n := float64(decade[i%perDecade])
			if rank <= seen+n {
				return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), (rank-seen)/n))
			}
			seen += n
		}
		from = to
	}
	return ends[buckets-1]
}

// Append appends the series of c in the text format of Prometheus, nothing if nothing was counted.
// labels are without braces, and not empty.
func (c *Counts) Append(dst []byte, f Format, metric, labels string) []byte {
	if c.Total == 0 {
		return dst
	}
	if f == VMRange {
		dst = c.appendRanges(dst, metric, labels)
	} else {
		dst = c.appendBounds(dst, metric, labels)
	}
	dst = append(append(append(append(dst, metric...), "_sum{"...), labels...), "} "...)
	dst = append(strconv.AppendFloat(dst, c.Sum.Seconds(), 'f', -1, 64), '\n')
	dst = append(append(append(append(dst, metric...), "_count{"...), labels...), "} "...)
	return append(strconv.AppendUint(dst, c.Total, 10), '\n')
}

func (c *Counts) appendBounds(dst []byte, metric, labels string) []byte {
	total, next := c.below, 0
	for _, b := range leBuckets {
		for ; next <= b.end; next++ {
			if decade := c.decades[next/perDecade]; decade != nil {
				total += decade[next%perDecade]
			}
		}
		dst = appendBucket(dst, metric, labels, "le", b.text, total)
	}
	return appendBucket(dst, metric, labels, "le", "+Inf", c.Total)
}

func (c *Counts) appendRanges(dst []byte, metric, labels string) []byte {
	if c.below > 0 {
		dst = appendBucket(dst, metric, labels, "vmrange", fmt.Sprintf("0...%.3e", shortest.Seconds()), c.below)
	}
	next := 0
	for _, r := range vmBuckets {
		n := uint64(0)
		for ; next <= r.end; next++ {
			if decade := c.decades[next/perDecade]; decade != nil {
				n += decade[next%perDecade]
			}
		}
		if n > 0 {
			dst = appendBucket(dst, metric, labels, "vmrange", r.text, n)
		}
	}
	if c.above > 0 {
		dst = appendBucket(dst, metric, labels, "vmrange", fmt.Sprintf("%.3e...+Inf", ends[buckets-1].Seconds()), c.above)
	}
	return dst
}

func appendBucket(dst []byte, metric, labels, label, bucket string, n uint64) []byte {
	dst = append(append(append(append(dst, metric...), "_bucket{"...), labels...), ',')
	dst = append(append(append(append(dst, label...), `="`...), bucket...), `"} `...)
	return append(strconv.AppendUint(dst, n, 10), '\n')
}
