package lb

// maxTried bounds the attempts of one exchange.
const maxTried = 8

// Pick is what one exchange asks of Acquire, over all its attempts. The zero
// value is ready; Reset makes it so again. It belongs to one goroutine at a time.
type Pick struct {
	// Now is the time in Monotonic nanoseconds, if the caller has it at hand;
	// 0 makes Acquire read the clock. It is to be set anew for each attempt.
	Now int64
	// Sticky is the value of the sticky cookie that the client sent; empty
	// means none. Acquire does not keep it.
	Sticky []byte
	// Cancel ends a wait in the queue when it is closed; nil never does.
	Cancel <-chan struct{}
	// Again allows targets that were tried before if no other is usable.
	Again bool

	key    uint64
	hasKey bool

	tried [maxTried]*live
	n     int

	// The rest is set by each Acquire for Admits and the algorithms.

	u *Upstream
	// mask is what blocks a target: less in panic mode.
	mask uint32
	// plain says that nothing but mask can rule a target out.
	plain bool
	// again is Again once nothing else was usable.
	again bool
	// full says that a target was ruled out only by its limit of running exchanges.
	full bool
	// patience is how often a target that warms up may still be passed over.
	patience int
	now      int64
}

// Reset makes p as good as new.
func (p *Pick) Reset() { *p = Pick{} }

// Forget makes all targets look untried, for an exchange that begins again. Key
// and cookie stay.
func (p *Pick) Forget() { p.tried, p.n = [maxTried]*live{}, 0 }

// SetKey gives the bytes that balance = "hash" makes its choice by.
func (p *Pick) SetKey(value []byte) { p.key, p.hasKey = hashBytes(value), true }

// Key returns the hash of what SetKey was given, and whether it was.
func (p *Pick) Key() (key uint64, ok bool) { return p.key, p.hasKey }

// Attempt returns how many targets were acquired with p.
func (p *Pick) Attempt() int { return p.n }

// Admits reports whether t may be picked: it is usable, was not tried before
// and has room. Pickers call it; it changes nothing they can see.
func (p *Pick) Admits(t *Target) bool {
	if !t.usable(p.mask) {
		return false
	}
	if p.plain {
		return true
	}
	if !p.again {
		for _, l := range p.tried[:p.n] {
			if l == t.live {
				return false
			}
		}
	}
	if p.u.ceiling > 0 && t.live.inFlight.Load() >= p.u.targetLimit(t) {
		p.full = true
		return false
	}
	return true
}

// Warmth returns the part of its share, above 0 and up to 1, that t shall get
// because it warms up after it joined or recovered. Pickers that compare loads
// divide by it.
func (p *Pick) Warmth(t *Target) float64 { return t.warmth(p.now, p.u.slowStart) }

// takes is Admits for algorithms that offer targets in turn or by chance: a
// target that warms up is passed over now and then, by the chance that draw
// stands for.
func (p *Pick) takes(t *Target, draw uint64) bool {
	if !p.Admits(t) {
		return false
	}
	if t.live.bits.Load()&bitSlow == 0 || p.patience <= 0 {
		return true
	}
	if chance := float64(mix(draw)>>11) / (1 << 53); chance < p.Warmth(t) {
		return true
	}
	p.patience--
	return false
}

// first returns the first target from start on, round the end, that p admits,
// or nil.
func (p *Pick) first(targets []*Target, start int) *Target {
	for _, t := range targets[start:] {
		if p.Admits(t) {
			return t
		}
	}
	for _, t := range targets[:start] {
		if p.Admits(t) {
			return t
		}
	}
	return nil
}

// mix spreads the bits of x over all of the result (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// hashBytes hashes b the same way in every process (FNV-1a, then mix).
func hashBytes[T string | []byte](b T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(b) {
		h = (h ^ uint64(b[i])) * 1099511628211
	}
	return mix(h)
}
