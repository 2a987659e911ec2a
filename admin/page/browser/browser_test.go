package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"weir/internal/testkit"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// wait bounds what the browser does; it is only reached when a test fails.
const wait = 90 * time.Second

// chromium is the one browser of all tests; they open tabs of it.
var chromium struct {
	once  sync.Once
	ctx   context.Context
	close func()
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.close != nil {
		chromium.close()
	}
	os.Exit(code)
}

func startChromium() {
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, chromium.err = exec.LookPath(name); chromium.err == nil {
			break
		}
	}
	if chromium.err != nil {
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("force-color-profile", "srgb"), chromedp.WSURLReadTimeout(wait))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which root cannot have
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	chromium.ctx, chromium.close = ctx, func() { end(); stop() }
	chromium.err = chromedp.Do(ctx)
}

// tab is a tab of the browser. Errors that scripts throw, and whatever the browser
// refuses because of the policy of the page, fail the test.
type tab struct {
	t   *testing.T
	ctx context.Context
	mu  sync.Mutex
	bad []string
}

// open opens a tab of the size of a desktop and goes to an address.
func open(t *testing.T, address string, first ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	if chromium.once.Do(startChromium); chromium.err != nil {
		testkit.Lacks(t, fmt.Sprint("Chromium: ", chromium.err))
	}
	ctx, end := chromedp.NewContext(chromium.ctx)
	b := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		end()
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.bad) > 0 {
			t.Errorf("the browser complains: %s", strings.Join(b.bad, "\n"))
		}
	})
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	command(b, log.Enable, cdp.Empty{})
	b.do(append([]chromedp.Action[chromedp.Void]{chromedp.EmulateViewport(1280, 860)}, first...)...)
	b.do(chromedp.Navigate(address))
	return b
}

// hear notes what the browser complains of.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.bad = append(b.bad, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.bad = append(b.bad, e.Entry.Text)
		}
	}
}

// do does something in the tab.
func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// command sends a command of the protocol to the tab.
func command[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	result, err := chromedp.Call(ctx, c, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// value evaluates JavaScript.
func value[T any](b *tab, script string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// text returns what can be read in the first element that a selector finds; nothing if there
// is none.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return value[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
}

// until waits until a condition in JavaScript holds. The tab is asked again and again: what
// asks by itself inside of the page is refused by the page's policy.
func (b *tab) until(condition string) {
	b.t.Helper()
	for end := time.Now().Add(wait); !value[bool](b, "!!("+condition+")"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s does not become true; the page says:\n%s", condition, b.text("body"))
		}
	}
}

// shows waits until a text stands in the element.
func (b *tab) shows(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("(document.querySelector(%q)?.innerText ?? '').includes(%q)", selector, text))
}

// press presses a key of package kb, as a user does who has no mouse.
func (b *tab) press(key string) { b.t.Helper(); b.do(chromedp.KeyEvent(key)) }

// write presses the keys of a text, of which each writes its letter unless the page takes it.
func (b *tab) write(text string) {
	b.t.Helper()
	for _, letter := range strings.Split(text, "") {
		command(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: letter, Text: letter})
		command(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: letter})
	}
}

// click clicks what has this name, or begins with it, below the element.
func (b *tab) click(selector, name string) {
	b.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll(%q)].flatMap(e => [...e.querySelectorAll('button, a, input, tr.opens')]).find(e => (e.getAttribute('aria-label') || e.innerText || '').trim().startsWith(%q))", selector, name)
	b.until(find)
	value[bool](b, "("+find+").click() ?? true")
}

// set gives a field another value, as typing it at once would.
func (b *tab) set(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector(%q)", selector))
	value[bool](b, fmt.Sprintf("(e => { e.value = %q; for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true})); return true })(document.querySelector(%q))", text, selector))
}
