package discovertest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync"

	"weir/discover"
	"weir/lb"
)

// Page is a web server with one document.
type Page struct {
	Web

	mu     sync.Mutex
	text   []byte
	broken bool
	// whole counts answers with the document, and same those without it.
	whole, same int
}

// StartPage starts a web server.
func StartPage() (*Page, error) {
	p := new(Page)
	p.Handler = p
	return p, p.Start()
}

// Set makes this the document.
func (p *Page) Set(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
}

// Break makes it answer every request with an error page of status 200, until it is called with false.
func (p *Page) Break(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

// Answers returns how many answers had the document, and how many said that it is the same.
func (p *Page) Answers() (whole, same int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.whole, p.same
}

// ServeHTTP answers with the document.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(p.text))
	switch {
	case p.broken:
		io.WriteString(w, "<html>an error page</html>")
	case r.Header.Get("If-None-Match") == tag:
		w.WriteHeader(http.StatusNotModified)
		p.same++
	default:
		w.Header().Set("ETag", tag)
		w.Write(p.text)
		p.whole++
	}
}

// Place returns what the schemes of lists follow.
func (p *Page) Place(schemes []discover.Scheme) Place {
	return Place{
		URL:     func(string) string { return "list+http://" + p.Addr + "/targets.json?all=1#every=500ms" },
		Schemes: schemes,
		Set:     func(list []lb.Endpoint) error { p.Set(Document(list)); return nil },
		Stop:    p.Stop,
		Start:   p.Start,
		Cut:     p.Cut,
		Break:   func() error { p.Break(true); return nil },
		Mend:    func() error { p.Break(false); return nil },
		Documents: &Documents{
			URL:  "list+http://" + p.Addr + "/weir.toml#every=100ms",
			Put:  func(text string) error { p.Set([]byte(text)); return nil },
			Free: true,
		},
	}
}
