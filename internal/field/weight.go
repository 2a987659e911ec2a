package field

import (
	"bytes"
	"iter"
)

// Weighted are the members of a list with weights (RFC 9110 section 12.4.2), such as
// Accept-Encoding, and their weights in thousandths: 1000 without one, 0 for one that cannot be
// read.
func Weighted(list []byte) iter.Seq2[[]byte, int] {
	return func(yield func(name []byte, weight int) bool) {
		for member := range Tokens(list) {
			name, parameters, _ := bytes.Cut(member, []byte{';'})
			if !yield(Trim(name), weightOf(parameters)) {
				return
			}
		}
	}
}

func weightOf(parameters []byte) int {
	for p := range bytes.SplitSeq(parameters, []byte{';'}) {
		name, value, _ := bytes.Cut(Trim(p), []byte{'='})
		if EqualFold(Trim(name), "q") {
			return thousandths(Trim(value))
		}
	}
	return 1000
}

// thousandths reads "0", "0.123", "1" and "1.000"; anything else is 0.
func thousandths(value []byte) int {
	whole, fraction, _ := bytes.Cut(value, []byte{'.'})
	if len(whole) != 1 || whole[0] != '0' && whole[0] != '1' || len(fraction) > 3 {
		return 0
	}
	n := int(whole[0] - '0')
	for i := range 3 {
		n *= 10
		if i < len(fraction) {
			if fraction[i] < '0' || fraction[i] > '9' {
				return 0
			}
			n += int(fraction[i] - '0')
		}
	}
	return min(n, 1000)
}
