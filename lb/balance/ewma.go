package balance

import "weir/lb"

// peakEWMA draws two targets by weight and picks the one that is expected to
// answer earlier: by its latency's moving average, which jumps up at once and
// comes down slowly, times what runs on it. A target without any latency yet
// counts as an average one, so that it is not flooded for looking fast.
type peakEWMA struct {
	lot lot
}

func newPeakEWMA(in lb.Input) (lb.Picker, error) {
	return &peakEWMA{newLot(in)}, nil
}

// Pick implements lb.Picker.
func (e *peakEWMA) Pick(p *lb.Pick) *lb.Target {
	a, b := e.lot.two(p)
	if b == nil {
		return a
	}
	if cost(b, p) < cost(a, p) {
		return b
	}
	return a
}

// cost returns what t is expected to take.
func cost(t *lb.Target, p *lb.Pick) float64 {
	return max(float64(p.Latency(t)), 1) * (p.Load(t) + 1)
}
