package browser_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
)

// While very many exchanges pass, the list has a bounded number of rows in the document, and can be held, walked through and
// filtered.
func TestExchangesInAFlood(t *testing.T) {
	t.Parallel()
	s := perform(t, recordsAll+`
[[routes]]
name = "all"
respond = { status = 200, body = "well" }
`)
	b := open(t, s.page+"#/exchanges")
	b.shows(".split", "Nothing has passed yet")
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			client := &http.Client{Transport: new(http.Transport)}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				response, err := client.Get(s.web + "/flood")
				if err != nil {
					t.Error(err)
					return
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
	defer senders.Wait()
	defer close(stop)
	const listed = "+document.querySelector('[data-list]')?.getAttribute('aria-label').replace(/\\D/g, '')"
	b.until(listed + " > 300 && document.querySelector('.live').textContent.includes('/s')")
	b.until("document.querySelectorAll('.x').length > 10 && document.querySelectorAll('.x').length < 80")
	b.press("j")
	b.shows(".detail", "/flood")
	b.press("p")
	const waiting = "+([...document.querySelectorAll('.facts button')].find((e) => e.textContent.includes(' new'))?.textContent.replace(/\\D/g, '') ?? 0)"
	b.until("(" + waiting + ") > 0 && (window.held ??= " + listed + ") > 0")
	b.until("(" + waiting + ") > 200 && " + listed + " == window.held")
	b.press("p")
	// The page lists no more than 5,000, which a slow browser may have held already.
	b.until("(" + waiting + ") == 0 && (" + listed + " > window.held || window.held == 5000)")
	b.set("[data-search]", "path=/none")
	b.shows(".split", "Nothing fits")
	b.set("[data-search]", "path=/flood")
	b.until("document.querySelectorAll('.x').length > 10")
}
