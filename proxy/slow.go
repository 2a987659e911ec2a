package proxy

import (
	"errors"
	"strconv"
	"time"

	"weir/internal/sock"
)

// SlowClient is the error of a client that is slower than a limit of the configuration
// allows. It is a net.Error.
type SlowClient struct{ what, key string }

// Error says what the client did, and names the key of the limit.
func (e *SlowClient) Error() string { return "client " + e.what + " (" + e.key + ")" }

// Timeout makes it a time-out, as package net has them.
func (*SlowClient) Timeout() bool { return true }

// Temporary implements net.Error.
func (*SlowClient) Temporary() bool { return false }

// TookNothing is the error of a client that took nothing of an answer for grace.
func TookNothing(grace time.Duration) error { return idleFor("took", grace) }

// SentNothing is the error of a client that sent nothing of a body for grace.
func SentNothing(grace time.Duration) error { return idleFor("sent", grace) }

// TookLess is the error of a client that took less of an answer than rate bytes per second.
func TookLess(rate int64) error { return below("took", rate) }

// SentLess is the error of a client that sent less of a body than rate bytes per second.
func SentLess(rate int64) error { return below("sent", rate) }

// SentNoHead is the error of a client whose request's head was not there in time.
func SentNoHead(limit time.Duration) error {
	return &SlowClient{what: "has not sent all of a request's head within " + limit.String(), key: "timeouts.header"}
}

func idleFor(verb string, grace time.Duration) error {
	return &SlowClient{what: verb + " nothing for " + grace.String(), key: "timeouts.grace"}
}

func below(verb string, rate int64) error {
	return &SlowClient{what: verb + " less than " + strconv.FormatInt(rate, 10) + " bytes per second", key: "timeouts.min_rate"}
}

// Slow returns the SlowClient for an error of writing at a sock.Pace of grace and rate, if the
// client was slower than that; otherwise err itself.
func Slow(err error, grace time.Duration, rate int64) error {
	switch {
	case errors.Is(err, sock.ErrTookNothing):
		return TookNothing(grace)
	case errors.Is(err, sock.ErrTookLittle):
		return TookLess(rate)
	}
	return err
}
