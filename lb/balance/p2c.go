package balance

import (
	"strconv"

	"weir/config"
	"weir/lb"
)

// powerOfTwo draws two targets by weight, or more if its options say so, and
// picks the one with the least to do, relative to its weight. That is nearly as
// even as looking at all of them, and exchanges that pick at the same time do not
// all pick the same.
type powerOfTwo struct {
	lot     lot
	choices int
}

// powerOptions are what balance_options may say.
type powerOptions struct {
	Choices int `toml:"choices"`
}

// Check says what is wrong with o.
func (o *powerOptions) Check() []config.Problem {
	if o.Choices >= 2 && o.Choices <= 10 {
		return nil
	}
	return []config.Problem{{Key: "choices", Found: "integer " + strconv.Itoa(o.Choices), Want: "2 to 10"}}
}

func newPowerOfTwo(in lb.Input) (lb.Picker, error) {
	return &powerOfTwo{newLot(in), in.Options.(*powerOptions).Choices}, nil
}

// Pick implements lb.Picker.
func (c *powerOfTwo) Pick(p *lb.Pick) *lb.Target {
	best, other := c.lot.two(p)
	if other == nil {
		return best
	}
	least := p.Load(best)
	for drawn := 2; ; drawn++ {
		if other != nil {
			if load := p.Load(other); load < least {
				best, least = other, load
			}
		}
		if drawn >= c.choices {
			return best
		}
		other = c.lot.draw(p)
	}
}
