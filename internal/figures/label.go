package figures

import "strings"

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// Quote makes text a quoted label value, as the text formats of Prometheus and OpenMetrics have it: only the
// backslash, the quote and the end of a line are escaped, because those formats have no other escapes, and bytes
// that are no UTF-8 become U+FFFD.
func Quote(text string) string {
	return `"` + labelEscapes.Replace(strings.ToValidUTF8(text, "\uFFFD")) + `"`
}
