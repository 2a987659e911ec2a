package admin

import (
	"errors"
	"time"
)

// ErrTooManyStreams is the answer to one more watcher of exchanges than there may be.
var ErrTooManyStreams = errors.New("too many watch already")

// Exchange is a recorded exchange in short. Durations are seconds; what is not known is empty or 0.
type Exchange struct {
	// ID names it in this process. Later exchanges have greater ones, by length and then by text.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Kind is where it is kept: "recent", "failed", "slow" or "imported".
	Kind string `json:"kind"`
	// ReplayOf is the id of the exchange that this one repeats.
	ReplayOf  string `json:"replay_of"`
	RequestID string `json:"request_id"`
	// TraceID and SpanID are what it is in traces, as the access log has them; empty without tracing.
	TraceID  string `json:"trace_id"`
	SpanID   string `json:"span_id"`
	Listener string `json:"listener"`
	Client   string `json:"client"`
	User     string `json:"user"`
	Method   string `json:"method"`
	Scheme   string `json:"scheme"`
	Host     string `json:"host"`
	// Target is the request target, TargetURL the upstream's target of the last attempt.
	Target    string `json:"target"`
	Version   string `json:"version"`
	Route     string `json:"route"`
	Upstream  string `json:"upstream"`
	TargetURL string `json:"target_url"`
	Attempts  int    `json:"attempts"`
	Status    int    `json:"status"`
	// Cause is the name of why it ended, and Error the sentence. OK says that the cause is no
	// failure and the status none of a server.
	Cause    string  `json:"cause"`
	Error    string  `json:"error"`
	OK       bool    `json:"ok"`
	Cache    string  `json:"cache"`
	BytesIn  int64   `json:"bytes_in"`
	BytesOut int64   `json:"bytes_out"`
	Type     string  `json:"type"`
	Duration float64 `json:"duration"`
	// Complete is false of an exchange that was not sampled and is kept because it failed or was
	// slow: it has no bodies and attempts, and only the heads that were left at its end.
	Complete bool `json:"complete"`
}

// ExchangeDetail is all that is kept of an exchange.
type ExchangeDetail struct {
	Exchange
	// Request is what the client sent, Forwarded what the last target got; Received is what that
	// answered, Response what the client got.
	Request   *Message `json:"request"`
	Forwarded *Message `json:"forwarded"`
	Received  *Message `json:"received"`
	Response  *Message `json:"response"`
	Tries     []Try    `json:"tries"`
	Timing    Timing   `json:"timing"`
	Why       Why      `json:"why"`
	// Masked are the places of what was masked, such as "request.authorization".
	Masked []string `json:"masked"`
	Notes  []string `json:"notes"`
}

// Message is a request or a response.
type Message struct {
	Line string `json:"line"`
	// Fields are names and values in their order.
	Fields [][2]string `json:"fields"`
	Body   *Body       `json:"body"`
}

// Body is the beginning of a body, without its content coding.
type Body struct {
	// Size is how many bytes passed, Kept how many of them are here, before decoding.
	Size      int64  `json:"size"`
	Kept      int    `json:"kept"`
	Truncated bool   `json:"truncated"`
	Type      string `json:"type"`
	Coding    string `json:"coding"`
	Decoded   bool   `json:"decoded"`
	// Text is the body if it is text, else Base64 is.
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"base64,omitempty"`
	Masked bool   `json:"masked"`
	// Image says that browsers can show what URL answers, and that this runs nothing.
	Image bool   `json:"image"`
	URL   string `json:"url,omitempty"`
}

// Bytes are those of the body. b may be nil.
func (b *Body) Bytes() []byte {
	switch {
	case b == nil:
		return nil
	case len(b.Base64) > 0:
		return b.Base64
	}
	return []byte(b.Text)
}

// Try is an attempt. Start is in seconds since the exchange's time; Connect and FirstByte are 0 if
// it did not get that far.
type Try struct {
	Target    string  `json:"target"`
	Start     float64 `json:"start"`
	Connect   float64 `json:"connect"`
	FirstByte float64 `json:"first_byte"`
	Duration  float64 `json:"duration"`
	Status    int     `json:"status"`
	Cause     string  `json:"cause"`
	Error     string  `json:"error"`
	Reused    bool    `json:"reused"`
}

// Timing splits the time of an exchange into parts that follow each other: until the last attempt
// began, until it had its connection, until the request was sent, until the response's head came,
// and until the last byte was written.
type Timing struct {
	Wait      float64 `json:"wait"`
	Connect   float64 `json:"connect"`
	Send      float64 `json:"send"`
	FirstByte float64 `json:"first_byte"`
	Body      float64 `json:"body"`
	Total     float64 `json:"total"`
}

// Why says in sentences why an exchange went where it went.
type Why struct {
	Route  string `json:"route"`
	Target string `json:"target"`
	Cache  string `json:"cache"`
}

// InspectState is how the recorder is.
type InspectState struct {
	Enabled bool `json:"enabled"`
	// Budget bounds the bytes of memory, Used are those that are taken.
	Budget int64 `json:"budget"`
	Used   int64 `json:"used"`
	// Exchanges counts those that are kept; Failed, Slow and Imported are of these.
	Exchanges int `json:"exchanges"`
	Failed    int `json:"failed"`
	Slow      int `json:"slow"`
	Imported  int `json:"imported"`
	// Recorded and Skipped count since the start; skipped are failed or slow ones that were not
	// kept because too many came at once.
	Recorded int64            `json:"recorded"`
	Skipped  int64            `json:"skipped"`
	Streams  int              `json:"streams"`
	Routes   []InspectedRoute `json:"routes"`
}

// InspectedRoute is how the exchanges of a route are recorded. Slow is in seconds, 0 for never.
type InspectedRoute struct {
	Route  string  `json:"route"`
	Sample float64 `json:"sample"`
	Body   int64   `json:"body"`
	Slow   float64 `json:"slow"`
}

// ExchangeQuery chooses recorded exchanges.
type ExchangeQuery struct {
	// Filter is a text in the language of docs/inspect.md; empty for all.
	Filter string
	// Ring is "recent", "failed", "slow" or "imported"; empty or "all" for all.
	Ring string
	// IDs chooses exchanges by their ids; empty for all.
	IDs []string
	// Before is an id: only earlier ones are chosen. Empty for no bound.
	Before string
	// Limit bounds how many are chosen.
	Limit int
}

// Inspector is what the API may do with the recorder. Any goroutine may call its methods.
type Inspector interface {
	State() InspectState
	// Exchanges returns the newest that q chooses, newest first, and the id to go on before; empty if
	// there are no more. The error says what is wrong with the filter.
	Exchanges(q ExchangeQuery) (list []Exchange, next string, err error)
	// Details is Exchanges with all that is kept.
	Details(q ExchangeQuery) ([]*ExchangeDetail, error)
	// Detail returns an exchange; nil if it is not, or no longer, there.
	Detail(id string) *ExchangeDetail
	// Clear forgets all, and returns how many there were.
	Clear() int
	// Import keeps exchanges of elsewhere, masked like all, and returns their new ids; those that do
	// not fit into the memory for them are left out, the last ones first.
	Import(list []*ExchangeDetail) (ids []string)
	// Watch begins to watch what is recorded. The error says what is wrong with the filter, or is
	// ErrTooManyStreams.
	Watch(filter string, bodies bool) (ExchangeStream, error)
}

// ExchangeStream is what is recorded from one moment on. It belongs to one goroutine.
type ExchangeStream interface {
	// Take returns what was recorded since the last call; nil if that is nothing.
	Take() *ExchangeNews
	// Close ends the stream.
	Close()
}

// ExchangeNews are exchanges that were recorded since the last news.
type ExchangeNews struct {
	// Exchanges are the last ones, oldest first. They are *ExchangeDetail if bodies were asked for, else
	// Exchange.
	Exchanges []any `json:"exchanges"`
	// Passed counts those that fit the filter, and those that were pushed out before the filter was asked; Dropped are
	// those of them that are not in Exchanges.
	Passed  int `json:"passed"`
	Dropped int `json:"dropped"`
}

// The kinds of exchanges by where they are kept.
const (
	KindRecent   = "recent"
	KindFailed   = "failed"
	KindSlow     = "slow"
	KindImported = "imported"
)
