package proxy

import (
	"strconv"
	"time"

	"weir/internal/head"
)

var serverTiming = head.NewName("Server-Timing")

// addServerTiming says in the response how long the phases took until now, what the cache did, and
// which trace this is (W3C Server Timing).
func (x *Exchange) addServerTiming() {
	b, m, total := x.room.scratch, &x.moments, x.since()
	from := len(b) // an answer of weir's own may have its body there
	if c := x.Result.Cache.String(); c != "" {
		b = append(append(append(b, `cache;desc="`...), c...), `", `...)
	}
	if m.attempted {
		b = appendTiming(b, "waiting", m.began)
		b = appendTiming(b, "connecting", m.connecting)
		b = appendTiming(b, "first_byte", m.firstByte)
	}
	if x.Trace.Context.TraceID != [16]byte{} {
		b = append(x.Trace.Append(append(b, `traceparent;desc="`...)), `", `...)
	}
	b = appendTiming(b, "total", total)
	x.room.scratch = b
	x.Response.Add(serverTiming, b[from:len(b)-len(", ")])
}

// appendTiming appends a metric in milliseconds, and a comma.
func appendTiming(dst []byte, name string, d time.Duration) []byte {
	dst = append(append(dst, name...), ";dur="...)
	return append(strconv.AppendFloat(dst, float64(d.Microseconds())/1000, 'f', -1, 64), ", "...)
}
