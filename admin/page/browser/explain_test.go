package browser_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"weir/config"
	"weir/discover/list"
	"weir/internal/testkit"
	"weir/server"
)

// A request is explained by the keyboard alone: routes, target, cache.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	b := open(t, s.page+"#/explain")
	b.shows("h1", "Explain")
	b.set(".question .long input", "http://shop.example/shop/x")
	b.set(".question textarea", "Accept: text/html\nX-Key: 7")
	b.do(chromedp.SendKeys(".question .long input", kb.Enter))
	b.shows("#verdict-card", "shop")
	b.shows("#verdict-card", "http://shop.example/shop/x") // the key of the cache
	b.shows("#candidates-card", "taken")
	b.shows("#candidates-card", "path")
	b.shows("#targets-card", "picked")
	b.shows("#sent-card", "X-Key: 7")
	b.until("location.hash.includes('url=') && !location.hash.includes('X-Key')")
	b.set(".question .long input", "http://shop.example/none")
	b.do(chromedp.SendKeys(".question .long input", kb.Enter))
	b.shows("#verdict-card", "no_route")
	b.set(".question .long input", "not a URL")
	b.do(chromedp.SendKeys(".question .long input", kb.Enter))
	b.shows(".failure", "URL")
}

// The page says what a reload would do.
func TestPlan(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("MODEL-A", "http://127.0.0.1:9", "MODEL-B", "http://127.0.0.1:10", "SHOP-A", "http://127.0.0.1:11", "SHOP-B", "http://127.0.0.1:12").Replace(plain)
	next := parse(t, strings.Replace(text, "short and stout", "tall", 1)+"[[routes]]\nname = \"new\"\npath = \"/new\"\nrespond = { status = 204 }\n")
	w := launch(t, parse(t, text), server.WithLoader(func() (*config.Config, error) { return next, nil }))
	b := open(t, "http://"+w.AdminAddr().String()+"/ui/#/config")
	b.click("#plan-card", "What would change?")
	b.shows("#plan-card", "new")
	b.shows("#plan-card", "teapot")
}

// Services and sources are shown with where each endpoint came from and when it was last seen.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	failing := make(chan struct{})
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-failing:
			http.Error(w, "away", http.StatusServiceUnavailable)
		default:
			w.Write([]byte(`{"targets":[{"url":"http://127.0.0.1:9"}]}`))
		}
	}))
	t.Cleanup(source.Close)
	w := launch(t, parse(t, `
[[listeners]]
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[[routes]]
path = "/{service}/{version}/"
upstream = "{service}/{version}"
[[routes]]
upstream = "app"
[upstreams.app]
targets = ["list+`+source.URL+`?interval=100ms"]
`), server.WithSchemes(list.Schemes()...))
	admin := "http://" + w.AdminAddr().String()
	register(t, admin, "pets/v1/127.0.0.1:10", "1h")
	b := open(t, admin+"/ui/#/discovery")
	b.shows("#sources-card", "app")
	b.shows("#sources-card", "reports")
	b.until(`document.getElementById('s-pets/v1-card')?.innerText.includes('http://127.0.0.1:10')`)
	b.until(`document.getElementById('s-pets/v1-card').innerText.includes('admin API')`)
	b.until(`document.getElementById('s-pets/v1-card').innerText.includes('after the last sign of life')`)
	close(failing)
	b.shows("#sources-card", "failing")
	b.write("/pets")
	b.until("!document.querySelector('#sources-card').innerText.includes('list+')")
	testkit.Eventually(t, "the search is in the address", func() bool {
		return strings.HasSuffix(value[string](b, "location.hash"), "q=pets")
	})
	b = open(t, admin+"/ui/#/upstreams")
	b.shows("#u-app-card", "found by list+"+source.URL)
	b.shows("#u-app-card", "kept, because the source fails: the server answers 503")
}

// contrast returns texts whose contrast with what is behind them is less than WCAG's AA asks for.
const contrast = `(() => {
	const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1;
	const ink = canvas.getContext('2d', { willReadFrequently: true });
	const parse = (text) => { ink.clearRect(0, 0, 1, 1); ink.fillStyle = text; ink.fillRect(0, 0, 1, 1);
		const [r, g, b, a] = ink.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
		return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const list = [];
	for (const e of document.querySelectorAll('body *')) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest(':disabled, .unseen, .u-over, option')) continue;
		const chain = []; let opacity = 1;
		for (let p = e; p; p = p.parentElement) { chain.unshift(p); opacity *= Number(getComputedStyle(p).opacity); }
		const behind = chain.reduce((below, p) => over(parse(getComputedStyle(p).backgroundColor), below), [255, 255, 255, 1]);
		const style = getComputedStyle(e), color = parse(style.color);
		color[3] *= opacity;
		const [a, b] = [light(over(color, behind)), light(behind)].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
		if (ratio < (size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5) - 0.005)
			list.push(ratio.toFixed(2) + ' ' + e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 30));
	}
	return [...new Set(list)];
})()`

// Texts can be read, on each page and in both schemes of colours.
func TestContrast(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	for range 3 {
		s.get("/shop/pictures/1.png")
	}
	s.get("/shop/fail")
	s.get("/shop/none")
	for _, scheme := range []string{"light", "dark"} {
		b := open(t, "about:blank")
		command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}})
		for _, page := range []string{"overview", "exchanges", "exchanges/" + s.someID("status=500"), "statistics", "routes", "upstreams", "cache", "config", "explain?url=http://a.example/shop/x", "discovery"} {
			b.do(chromedp.Navigate(s.page + "#/" + page))
			b.until("document.querySelector('h1') && !document.querySelector('.loading')")
			if list := value[[]string](b, contrast); len(list) > 0 {
				t.Errorf("%s, %s: %q", page, scheme, list)
			}
		}
	}
}
