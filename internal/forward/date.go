package forward

import (
	"net/http"
	"sync/atomic"
	"time"

	"weir/internal/head"
)

var dateField = head.SetOf(head.Date)

// Dates makes the Date of responses (RFC 9110 section 6.6.1), whose text it makes
// once per second. The zero value is ready, and any number of goroutines may use
// it at the same time. It must not be copied.
type Dates struct{ last atomic.Pointer[stamp] }

// stamp is the date of one second.
type stamp struct {
	second int64
	text   []byte
	line   head.Lines
}

// Text returns now as an IMF-fixdate (RFC 9110 section 5.6.7). It must not be
// changed.
func (d *Dates) Text(now time.Time) []byte { return d.at(now).text }

// Complete adds the Date of now to a response that has none.
func (d *Dates) Complete(h *head.Head, now time.Time) {
	if !h.Has(dateField) {
		h.AddLines(&d.at(now).line)
	}
}

func (d *Dates) at(now time.Time) *stamp {
	second := now.Unix()
	if s := d.last.Load(); s != nil && s.second == second {
		return s
	}
	s := &stamp{second: second, text: now.UTC().AppendFormat(nil, http.TimeFormat)}
	s.line.Add(head.Date, s.text)
	d.last.Store(s)
	return s
}
