package otlp

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"

	"weir/trace"
)

// The numbers of the fields of OTLP's messages (opentelemetry/proto/trace/v1/trace.proto and
// opentelemetry/proto/common/v1/common.proto), by message.
const (
	requestResourceSpans = 1

	resourceSpansResource   = 1
	resourceSpansScopeSpans = 2
	resourceAttributes      = 1

	scopeSpansScope = 1
	scopeSpansSpans = 2
	scopeName       = 1
	scopeVersion    = 2

	spanTraceID    = 1
	spanSpanID     = 2
	spanState      = 3
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanLinks      = 13
	spanStatus     = 15
	spanFlags      = 16

	linkTraceID = 1
	linkSpanID  = 2
	linkFlags   = 6

	statusMessage = 2
	statusCode    = 3
	statusError   = 2

	keyValueKey   = 1
	keyValueValue = 2
	valueString   = 1
	valueBool     = 2
	valueInt      = 3
)

// flags are those of a span or a link: that of the trace, and that it is known whether the parent is
// somewhere else.
func flags(c trace.Context, remote bool) uint32 {
	f := uint32(0x100)
	if remote {
		f |= 0x200
	}
	if c.Sampled {
		f |= 1
	}
	return f
}

// message appends a field that is a message, which fill appends.
func message(dst []byte, field protowire.Number, fill func(dst []byte) []byte) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	start := len(dst)
	dst = fill(dst)
	n := len(dst) - start
	var length [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(length[:], uint64(n))
	dst = append(dst, length[:size]...)
	copy(dst[start+size:], dst[start:start+n])
	copy(dst[start:], length[:size])
	return dst
}

// text appends a field that is a text, if it is not empty.
func text[T string | []byte](dst []byte, field protowire.Number, value T) []byte {
	if len(value) == 0 {
		return dst
	}
	return append(protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.BytesType), uint64(len(value))), value...)
}

// number appends a field that is a number.
func number(dst []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), value)
}

func fixed32(dst []byte, field protowire.Number, value uint32) []byte {
	return protowire.AppendFixed32(protowire.AppendTag(dst, field, protowire.Fixed32Type), value)
}

func fixed64(dst []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), value)
}

// attribute appends an attribute as a field.
func attribute(dst []byte, field protowire.Number, a *trace.Attribute) []byte {
	return message(dst, field, func(dst []byte) []byte {
		dst = text(dst, keyValueKey, a.Key)
		return message(dst, keyValueValue, func(dst []byte) []byte {
			switch {
			case a.Text != "":
				return text(dst, valueString, valid(a.Text))
			case a.Bool:
				return number(dst, valueBool, uint64(a.Number))
			}
			return number(dst, valueInt, uint64(a.Number))
		})
	})
}

// span appends a span as a field of its scope.
func span(dst []byte, s *trace.Span) []byte {
	return message(dst, scopeSpansSpans, func(dst []byte) []byte {
		dst = text(dst, spanTraceID, s.TraceID[:])
		dst = text(dst, spanSpanID, s.SpanID[:])
		dst = text(dst, spanState, s.State)
		if s.Parent != (trace.SpanID{}) {
			dst = text(dst, spanParent, s.Parent[:])
		}
		dst = fixed32(dst, spanFlags, flags(s.Context, s.Kind == trace.Server && s.Parent != (trace.SpanID{})))
		dst = text(dst, spanName, valid(s.Name))
		dst = number(dst, spanKind, uint64(s.Kind))
		dst = fixed64(dst, spanStart, uint64(s.Start.UnixNano()))
		dst = fixed64(dst, spanEnd, uint64(s.End.UnixNano()))
		for i := range s.Attributes {
			dst = attribute(dst, spanAttributes, &s.Attributes[i])
		}
		if s.Link != (trace.Context{}) {
			dst = message(dst, spanLinks, func(dst []byte) []byte {
				dst = text(dst, linkTraceID, s.Link.TraceID[:])
				dst = text(dst, linkSpanID, s.Link.SpanID[:])
				return fixed32(dst, linkFlags, flags(s.Link, true))
			})
		}
		if s.Failed {
			dst = message(dst, spanStatus, func(dst []byte) []byte {
				return number(text(dst, statusMessage, valid(s.Message)), statusCode, statusError)
			})
		}
		return dst
	})
}

// appendRequest appends an ExportTraceServiceRequest.
func (e *exporter) appendRequest(dst []byte, spans []*trace.Span) []byte {
	return message(dst, requestResourceSpans, func(dst []byte) []byte {
		dst = message(dst, resourceSpansResource, func(dst []byte) []byte {
			for i := range e.resource {
				dst = attribute(dst, resourceAttributes, &e.resource[i])
			}
			return dst
		})
		return message(dst, resourceSpansScopeSpans, func(dst []byte) []byte {
			dst = message(dst, scopeSpansScope, func(dst []byte) []byte {
				return text(text(dst, scopeName, "weir"), scopeVersion, e.version)
			})
			for _, s := range spans {
				dst = span(dst, s)
			}
			return dst
		})
	})
}

// partialSuccess is how many spans the collector refuses to keep, as an ExportTraceServiceResponse says.
func partialSuccess(response []byte) (rejected int) {
	number, n := protowire.ConsumeVarint(field(field(response, 1), 1))
	if n > 0 {
		rejected = int(min(number, 1<<30))
	}
	return rejected
}

// field returns the last value of a field of a message, a number as its bytes; nil without one, or if the message is
// malformed.
func field(message []byte, want protowire.Number) (value []byte) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		n = protowire.ConsumeFieldValue(number, kind, message)
		if n < 0 {
			return nil
		}
		if number == want {
			if value = message[:n]; kind == protowire.BytesType {
				value, _ = protowire.ConsumeBytes(message)
			}
		}
		message = message[n:]
	}
	return value
}
