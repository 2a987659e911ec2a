package server

import "time"

// WithSlowTurn sets how long an exchange at the head of a shared connection may
// wait before no other joins it, so that tests do not depend on how fast the
// machine is.
func WithSlowTurn(d time.Duration) Option { return func(o *options) { o.slowTurn = d } }
