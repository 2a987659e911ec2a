package head

import (
	"net/http"
	"strconv"
)

// statusLines are the first lines of responses with the usual phrase, by
// status - 100.
var statusLines = func() (lines [500]string) {
	for i := range lines {
		if text := http.StatusText(i + 100); text != "" {
			lines[i] = "HTTP/1.1 " + strconv.Itoa(i+100) + " " + text + "\r\n"
		}
	}
	return lines
}()
