package lb

// peakEWMA draws two targets by weight and picks the one that is expected to
// answer earlier: by its latency's moving average, which jumps up at once and
// comes down slowly, times what runs on it. A target without any latency yet
// counts as an average one, so that it is not flooded for looking fast.
type peakEWMA struct {
	lot     lot
	average func() float64
}

func newPeakEWMA(in Input) (Picker, error) {
	return &peakEWMA{newLot(in), in.Latency}, nil
}

// Pick implements Picker.
func (e *peakEWMA) Pick(p *Pick) *Target {
	a, b := e.lot.two(p)
	if b == nil {
		return a
	}
	average := e.average()
	if e.cost(b, p, average) < e.cost(a, p, average) {
		return b
	}
	return a
}

// cost returns what t is expected to take.
func (e *peakEWMA) cost(t *Target, p *Pick, average float64) float64 {
	return max(t.live.latency.at(p.now, average), 1) * (p.load(t) + 1)
}
