// Package inspect is the flight recorder: it keeps the last exchanges in a fixed amount of memory,
// so that operators can look at them, and masks secrets before it keeps anything. It watches by hooks
// and taps of the core and changes nothing.
//
// A Recorder (recorder.go) has what is kept, over all configurations. A Plan is what one
// configuration records. A recording (recording.go) is one exchange while it runs; kept (kept.go)
// is what stays of it, in rings (ring.go). Masking is in mask*.go, the language of filters in filter.go,
// what watchers get in stream.go.
package inspect
