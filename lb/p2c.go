package lb

// powerOfTwo draws two targets by weight and picks the one with less to do,
// relative to its weight. That is nearly as even as looking at all of them, and
// exchanges that pick at the same time do not all pick the same.
type powerOfTwo struct {
	lot lot
}

func newPowerOfTwo(in Input) (Picker, error) {
	return &powerOfTwo{newLot(in)}, nil
}

// Pick implements Picker.
func (c *powerOfTwo) Pick(p *Pick) *Target {
	a, b := c.lot.two(p)
	if b != nil && p.load(b) < p.load(a) {
		return b
	}
	return a
}

// load returns the running exchanges of t relative to the share it shall get now.
func (p *Pick) load(t *Target) float64 {
	return float64(t.live.inFlight.Load()) / (float64(t.weight) * p.Warmth(t))
}

// two draws two different targets that p admits. It returns nil for the second
// if there is only one, or for both.
func (l *lot) two(p *Pick) (a, b *Target) {
	if a = l.draw(p); a == nil {
		if a = l.any(p); a == nil {
			return nil, nil
		}
	}
	if len(l.targets) == 2 {
		if b = l.targets[0]; b == a {
			b = l.targets[1]
		}
		if !p.Admits(b) {
			b = nil
		}
		return a, b
	}
	for range 4 {
		b = l.draw(p)
		if b == nil {
			break
		}
		if b != a {
			return a, b
		}
	}
	// With few targets that happens too often to give up: one that is known to
	// be slow would be taken for want of another.
	start := l.at(l.rand())
	for i := range l.targets {
		if b = l.targets[(start+i)%len(l.targets)]; b != a && p.Admits(b) {
			return a, b
		}
	}
	return a, nil
}
