package adapt

import (
	"maps"
	"net/http"
	"slices"

	"weir/internal/head"
)

// Header returns the fields of h as net/http has them, with the lines of each name in their
// order. It includes Host, which net/http keeps in Request.Host.
func Header(h *head.Head) http.Header {
	header := make(http.Header)
	for f := range h.All() {
		header.Add(string(f.Name), string(f.Value))
	}
	return header
}

// FillHeader adds the fields of a header of net/http to h, by the checks of head.Fill: it
// returns nil or a *head.Defect. The names are sorted, because header has no order, and the values of
// a name keep theirs.
func FillHeader(h *head.Head, header http.Header) error {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			if err := h.Fill([]byte(name), []byte(value)); err != nil {
				return err
			}
		}
	}
	return nil
}
