// Package trace is what weir tells collectors of traces: spans as plain data, the context that
// requests carry (W3C Trace Context), and the interface of those who send spans on. It knows no
// collector and no protocol but that of the context; package trace/otlp sends spans by OTLP.
package trace

import (
	"context"
	"time"
)

// TraceID identifies a trace, SpanID a span of it. One of zeros is none.
type (
	TraceID [16]byte
	SpanID  [8]byte
)

// Context says which span of which trace something is. The zero value says that it is in none.
type Context struct {
	TraceID TraceID
	SpanID  SpanID
	// Sampled says that the spans of the trace are kept.
	Sampled bool
}

// Kind is what a span stands for, by the numbers of OTLP.
type Kind uint8

const (
	// Internal is a part of weir's own work.
	Internal Kind = 1
	// Server is a request that weir answers.
	Server Kind = 2
	// Client is a request that weir sends.
	Client Kind = 3
)

// Span is what is told of one piece of work that has ended. It is not changed after it was handed over.
type Span struct {
	Context
	// Parent is the span that this one is a part of; zero for the first of a trace.
	Parent SpanID
	// State is the tracestate of the request; empty if there was none.
	State string
	Name  string
	Kind  Kind
	// Start and End are by the wall clock, at least to the microsecond.
	Start, End time.Time
	Attributes []Attribute
	// Link is another span that has to do with this one; zero for none.
	Link Context
	// Failed says that the work failed, Message why; it may be empty.
	Failed  bool
	Message string
}

// Attribute is one thing that is known of a span: a text, or a number if Text is empty. Keys are those
// of OpenTelemetry's semantic conventions where these have one.
type Attribute struct {
	Key    string
	Text   string
	Number int64
	// Bool says that Number is a truth value, 0 or 1.
	Bool bool
}

// Text appends an attribute, if value is not empty.
func (s *Span) Text(key, value string) {
	if value != "" {
		s.Attributes = append(s.Attributes, Attribute{Key: key, Text: value})
	}
}

// Number appends an attribute.
func (s *Span) Number(key string, value int64) {
	s.Attributes = append(s.Attributes, Attribute{Key: key, Number: value})
}

// True appends an attribute that is true, if value is.
func (s *Span) True(key string, value bool) {
	if value {
		s.Attributes = append(s.Attributes, Attribute{Key: key, Number: 1, Bool: true})
	}
}

// Exporter sends spans to a collector. It is used by one goroutine. A panic of Export costs the spans.
type Exporter interface {
	// Export sends spans, which it does not keep, and tries again for as long as that may help and
	// ctx allows. rejected is how many of them the collector has taken and will not keep.
	Export(ctx context.Context, spans []*Span) (rejected int, err error)
	// Close gives back what the exporter holds.
	Close() error
}
