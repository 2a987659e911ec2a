package discovertest

import (
	"os"
	"path/filepath"
	"time"

	"weir/discover"
	"weir/lb"
)

// away is how long the folder is.
const away = 500 * time.Millisecond

// File is a file that scheme reads, alone in its folder. Its server is the file itself, which can be gone.
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
		// As if what has the file were not mounted for a moment.
		Cut: func() error {
			folder := filepath.Dir(path)
			if err := os.Rename(folder, folder+".away"); err != nil {
				return err
			}
			time.Sleep(away)
			return os.Rename(folder+".away", folder)
		},
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
