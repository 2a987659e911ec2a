package discovertest

import (
	"os"

	"weir/discover"
	"weir/lb"
)

// File is a file that scheme reads. Its server is the file itself, which can be gone.
func File(path string, scheme discover.Scheme) Place {
	var text []byte
	replace := func(text []byte) error {
		if err := os.WriteFile(path+".next", text, 0o600); err != nil {
			return err
		}
		return os.Rename(path+".next", path)
	}
	back := func() error { return replace(text) }
	return Place{
		URL:     func(string) string { return "file:" + path },
		Schemes: []discover.Scheme{scheme},
		Set: func(list []lb.Endpoint) error {
			text = Document(list)
			return replace(text)
		},
		Stop:  func() error { return os.Remove(path) },
		Start: back,
		Break: func() error { return os.WriteFile(path, text[:len(text)/2], 0o600) },
		Mend:  back,
	}
}

// Document lists endpoints as JSON.
func Document(list []lb.Endpoint) []byte {
	text := []byte("[")
	for i, e := range list {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = append(text, discover.FormatEndpoint(e)...)
	}
	return append(text, "]\n"...)
}
