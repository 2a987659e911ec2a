package observe

// reason is why something was not observed.
type reason uint8

const (
	// notJSON: the body, or a document of a stream, is no JSON.
	notJSON reason = iota
	// tooLarge: the body, or a document of a stream, is longer than max_body.
	tooLarge
	// unknownCoding: the body has a Content-Encoding that weir cannot decode, or is damaged.
	unknownCoding
	// missing: a value or label is not there.
	missing
	// notNumber: the value is no number, or a counter would go down.
	notNumber
	// uneven: lists of values and labels have different lengths.
	uneven
	// tooMany: the rest of a list that has more elements than are observed.
	tooMany

	reasons
)

var reasonNames = [reasons]string{
	notJSON: "not_json", tooLarge: "too_large", unknownCoding: "coding", missing: "missing", notNumber: "not_a_number", uneven: "uneven", tooMany: "too_many",
}

// String is the reason as metrics have it.
func (r reason) String() string { return reasonNames[r] }
