package proxy

// End is the named reason why a front end ended a client's connection, or a stream of it, though
// no exchange was at fault.
type End uint8

// The reasons. Each has its name below.
const (
	// EndProtocol: the client broke the rules of the protocol.
	EndProtocol End = iota
	// EndStreams: more streams at once than were allowed. Only the stream ends.
	EndStreams
	// EndResets: too many streams were reset.
	EndResets
	// EndIdleFrames: too many frames that move nothing.
	EndIdleFrames
	// EndContinuations: a header list in too many frames.
	EndContinuations
	// EndAcks: too many requests for answers that the client does not read.
	EndAcks
	// EndFrameTimeout: a frame did not come to its end in time.
	EndFrameTimeout
	// EndStalled: the client took, or sent, too little of a stream, which ends, or it read nothing at all,
	// and the connection ends.
	EndStalled

	ends
)

var endNames = [ends]string{
	EndProtocol:      "protocol_error",
	EndStreams:       "too_many_streams",
	EndResets:        "too_many_resets",
	EndIdleFrames:    "idle_frames",
	EndContinuations: "continuations",
	EndAcks:          "unread_acks",
	EndFrameTimeout:  "frame_timeout",
	EndStalled:       "stalled",
}

// String returns the name of the reason.
func (e End) String() string { return endNames[e] }

// CountEnd counts a connection, or a stream, that a front end has ended.
func (l *Listener) CountEnd(e End) {
	m := l.metrics
	lazy(m.series, &m.ended[e], "weir_listener_ended_total", "reason", End.String, e).Inc()
}
