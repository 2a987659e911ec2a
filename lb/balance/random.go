package balance

import "weir/lb"

// random picks by chance, each target as often as its weight says.
type random struct {
	lot lot
}

func newRandom(in lb.Input) (lb.Picker, error) {
	return &random{newLot(in)}, nil
}

// Pick implements lb.Picker.
func (r *random) Pick(p *lb.Pick) *lb.Target {
	return r.lot.pick(p)
}
