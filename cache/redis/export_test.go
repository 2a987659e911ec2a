package redis

import "time"

// SetWall makes the tier read another clock of the wall. It comes before Start.
func (t *Tier) SetWall(f func() time.Time) { t.wall = f }
