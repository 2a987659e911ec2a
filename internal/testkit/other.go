package testkit

import (
	"context"
	"testing"
)

// Other is the other process of an upgrade, in the same process: To learns at once what Tell gets.
type Other struct {
	T  testing.TB
	To interface{ Learn(message []byte) error }
	// Messages counts the calls of Tell.
	Messages int
}

// Tell makes To learn message.
func (o *Other) Tell(message []byte) {
	o.Messages++
	if err := o.To.Learn(message); err != nil {
		o.T.Error(err)
	}
}

// Await returns nil, because all is learned.
func (o *Other) Await(context.Context) error { return nil }
