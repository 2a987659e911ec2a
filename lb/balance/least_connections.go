package balance

import "weir/lb"

// leastConnections picks the target with the fewest running exchanges relative
// to its weight. Ties go to the one whose turn it would be by round robin. It
// looks at all targets until it finds an idle one, so that p2c is the better
// choice for many hundreds of them.
type leastConnections struct {
	targets []*lb.Target
	turns   roundRobin
}

func newLeastConnections(in lb.Input) (lb.Picker, error) {
	return &leastConnections{in.Targets, roundRobin{in.Targets, schedule(in.Targets), in.Position}}, nil
}

// Pick implements lb.Picker.
func (l *leastConnections) Pick(p *lb.Pick) *lb.Target {
	best := l.turns.Pick(p)
	if best == nil {
		return nil
	}
	least := p.Load(best)
	// Starting anywhere spreads what goes to others than the one whose turn it is.
	start := int(lb.Mix(l.turns.position.Load()) % uint64(len(l.targets)))
	for i := range l.targets {
		if least == 0 {
			break
		}
		if i += start; i >= len(l.targets) {
			i -= len(l.targets)
		}
		t := l.targets[i]
		if load := p.Load(t); load < least && p.Admits(t) {
			best, least = t, load
		}
	}
	return best
}
