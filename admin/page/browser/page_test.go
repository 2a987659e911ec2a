package browser_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"weir/config"
	"weir/internal/testkit"
)

// The overview shows that requests pass, and says what needs attention.
func TestOverview(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, s.page)
	b.shows(".troubles, .empty", "All is well")
	b.shows("#listeners-card", s.Addr("web").String())
	for range 20 {
		s.get("/teapot")
	}
	b.until("document.querySelector('.stats')") // the first point is there
	b.until("document.querySelectorAll('.chart canvas').length == 6")
	b.until("document.querySelector('.chart .plot').getAttribute('aria-label').includes('4xx')")
	s.ReloadFailed(errors.New(`weir.toml:7: routes[0].path: found "x"`))
	b.shows("#attention-card", "The last reload failed")
	b.click("#attention-card", "wrong")
	b.shows("#reloads-card", `weir.toml:7: routes[0].path: found "x"`)
}

// An address that changes right after the page is first seen is followed.
func TestAddressChangesEarly(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, "about:blank")
	command(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
		const seen = new MutationObserver(() => {
			if (!document.querySelector('.nav')) return;
			seen.disconnect();
			location.hash = '#/routes';
		});
		seen.observe(document, { childList: true, subtree: true });
	`})
	b.do(chromedp.Navigate(s.page))
	b.until("location.hash === '#/routes'")
	b.shows("h1", "Routes")
}

// A target is drained, weighed and taken back by the keyboard and by the mouse.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, s.page+"#/upstreams")
	b.shows("#u-shop-card", "2 of 2 usable")
	b.click("#u-shop-card", "Drain")
	b.shows("#u-shop-card", "draining")
	b.shows("#u-shop-card", "1 of 2 usable")
	b.shows(".toasts", "is draining")
	b.click("#u-shop-card", "Undrain")
	b.shows("#u-shop-card", "2 of 2 usable")

	b.click("#u-models-card", "Change the weight")
	b.shows("dialog", "The configuration says 3")
	b.set("dialog input", "7")
	b.do(chromedp.SendKeys("dialog input", kb.Enter))
	b.shows("#u-models-card", "7 of 3")

	b.click("#u-models-card", "Select all targets")
	b.shows(".actions", "2 targets selected")
	b.click(".actions", "Drain")
	b.shows("#u-models-card", "0 of 2 usable")

	b.write("/shop")
	b.until("!document.querySelector('#u-models-card') && document.querySelector('#u-shop-card')")
	b.until("location.hash == '#/upstreams?q=shop'")
	b.press(kb.Escape)
	b.write("1")
	b.shows("h1", "Overview")
	b.shows("#attention-card", "No target of models is usable")
}

// The cache says what it has, why it has not, and forgets.
func TestCache(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	for range 3 {
		s.get("/shop/pictures/1.png")
	}
	s.ask("POST", "/shop/cart", "{}")
	b := open(t, s.page+"#/cache")
	b.shows("#entries-card", "/shop/pictures/1.png")
	b.shows("#outcomes-card", "hit")
	b.shows(".stats", "50 %")
	b.click("#entries-card", s.web+"/shop/pictures/1.png")
	b.shows("#why-card", "the entry is fresh for another")
	b.click("#entries-card", "Purge")
	b.shows(".toasts", "Purged 1 entry")
	b.shows("#entries-card", "Nothing is stored yet")

	b.set("#purge-card select", "all")
	b.click("#purge-card", "Purge")
	b.shows("dialog", "Purge everything?")
	b.press(kb.Escape)
	b.until("!document.querySelector('dialog')")
}

func TestRoutesAndConfiguration(t *testing.T) {
	t.Parallel()
	s := perform(t, plain+"[upstreams.unused]\ntargets = [\"SHOP-A\"]\n")
	b := open(t, s.page+"#/routes")
	b.shows("main", "4 routes")
	b.write("j")
	b.write("j")
	b.press(kb.Enter)
	b.shows("tr.more", "default_ttl")
	b.write("7")
	b.shows("#problems-card", "no route sends to this upstream")
	b.shows("#reloads-card", "No reload yet")
	b.shows("#file-card", "[[routes]]")
	cfg, err := config.Parse("weir.toml", []byte(s.config))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	b.shows("#reloads-card", "loaded")
}

// Without anything to show, each page says so; and when weir is away, too.
func TestNothingThere(t *testing.T) {
	t.Parallel()
	s := perform(t, "[[listeners]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \""+
		testkit.Reserve(t)+"\"\n[[routes]]\nrespond = { status = 200 }\n") // where no other test answers after Close
	b := open(t, s.page+"#/upstreams")
	b.shows("main", "There are no upstreams")
	b.write("6")
	b.shows("main", "No route has a cache")
	s.Close()
	b.shows(".failure", "weir does not answer")
}

// On a phone nothing is wider than the screen, on any page and in any state that has rows.
func TestPhone(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	for range 3 {
		s.get("/shop/pictures/1.png")
	}
	b := open(t, s.page, chromedp.EmulateViewport(390, 800))
	for _, page := range []struct{ name, ready string }{{"overview", ".chart"}, {"exchanges", ".x"}, {"statistics", "tbody tr"}, {"routes", "tbody tr"}, {"upstreams", "tbody tr"}, {"cache", "tbody tr"}, {"config", ".toml-key"}, {"explain?url=http://a.example/shop/x", "#targets-card"}, {"discovery", "#sources-card"}} {
		b.do(chromedp.Navigate(s.page + "#/" + page.name))
		b.until("document.querySelector('" + page.ready + "')")
		if wide := value[int](b, "document.documentElement.scrollWidth"); wide > 390 {
			t.Errorf("%s is %d pixels wide", page.name, wide)
		}
	}
}

// Everything that can be used has a name for those who do not see it, in both schemes of
// colours.
func TestNames(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	s.get("/shop/pictures/1.png")
	b := open(t, s.page)
	for _, page := range []string{"overview", "exchanges", "statistics", "routes", "upstreams", "cache", "config", "explain?url=http://a.example/shop/x", "discovery"} {
		b.do(chromedp.Navigate(s.page + "#/" + page))
		b.until("document.querySelector('h1') && !document.querySelector('.loading')")
		nameless := value[[]string](b, `[...document.querySelectorAll('button, a, input, select, textarea')].filter(e =>
			!(e.getAttribute('aria-label') || e.innerText.trim() || e.labels?.length)).map(e => e.outerHTML)`)
		if len(nameless) > 0 {
			t.Errorf("%s: without a name: %q", page, nameless)
		}
		if n := value[int](b, "document.querySelectorAll('h1').length"); n != 1 {
			t.Errorf("%s has %d headings of the first level", page, n)
		}
	}
}

// Pages of others cannot use the API, and the page cannot be shown inside of theirs.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	for _, path := range []string{"ui/", "ui/app.js", "status", "nothing"} {
		r, err := http.Get("http://" + s.AdminAddr().String() + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if got := r.Header.Get("Content-Security-Policy"); got == "" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: policy %q, %q", path, got, r.Header.Get("X-Content-Type-Options"))
		}
	}
}

// The statistics have each path template with how often it was asked for and failed.
func TestStatistics(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, s.page+"#/statistics")
	b.shows("main", "No request yet")
	for i := range 12 {
		s.get(fmt.Sprintf("/shop/products/%d", 1000+i))
	}
	s.get("/shop/fail")
	b.shows("#s-shop-card", "/shop/products/{id}")
	b.until("document.querySelector('#s-shop-card .segments i')")
	b.click("main", "Since the start")
	b.shows("#s-shop-card", "12")
	b.click("#s-shop-card", "Slowest")
	b.shows("#s-shop-card", "/shop/products/10")
}
