package lb

// leastConnections picks the target with the fewest running exchanges relative
// to its weight. Ties go to the one whose turn it would be by round robin. It
// looks at all targets until it finds an idle one, so that p2c is the better
// choice for many hundreds of them.
type leastConnections struct {
	targets []*Target
	turns   roundRobin
}

func newLeastConnections(in Input) (Picker, error) {
	return &leastConnections{in.Targets, roundRobin{in.Targets, schedule(in.Targets), in.Position}}, nil
}

// Pick implements Picker.
func (l *leastConnections) Pick(p *Pick) *Target {
	best := l.turns.Pick(p)
	if best == nil {
		return nil
	}
	least := p.load(best)
	// Starting anywhere spreads what goes to others than the one whose turn it is.
	start := int(mix(l.turns.position.Load()) % uint64(len(l.targets)))
	for i := range l.targets {
		if least == 0 {
			break
		}
		if i += start; i >= len(l.targets) {
			i -= len(l.targets)
		}
		t := l.targets[i]
		if load := p.load(t); load < least && p.Admits(t) {
			best, least = t, load
		}
	}
	return best
}
