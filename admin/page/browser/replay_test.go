package browser_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// A request is sent again as it was, and edited, and the two answers are compared.
func TestReplay(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	s.ask("POST", "/v1/models/pets:predict", `{"instancez": []}`)
	b := open(t, s.page+"#/exchanges/"+s.someID("status=400"))
	b.shows(".detail", "Missing 'inputs'")
	b.write("r")
	b.shows("dialog", "Status and body are the same.")
	b.until("document.querySelectorAll('dialog .answer').length == 2")
	b.click("dialog", "Edit and send again")
	b.shows("dialog", "Where to")
	b.set("dialog label.field:nth-of-type(2) textarea", `{"instances": [[1]]}`)
	b.click("dialog", "Send")
	b.shows("dialog .sides", "predictions")
	b.shows("dialog .sides", "200")
	b.until("document.querySelector('dialog .answer .line.new')")
	b.click("dialog", "Open the new one")
	b.shows(".detail", "Replay of")
}

// What is exported can be imported.
func TestHAR(t *testing.T) {
	t.Parallel()
	s := perform(t, plain)
	s.get("/teapot")
	id := s.someID("teapot")
	r, err := http.Get("http://" + s.AdminAddr().String() + "/inspect/har?ids=" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	name := filepath.Join(t.TempDir(), "weir.har")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b := open(t, s.page+"#/exchanges?ring=imported")
	b.shows(".split", "Nothing fits")
	b.do(chromedp.SetUploadFiles("input[type=file]", []string{name}, chromedp.NodeReady))
	b.shows(".toasts", "1 exchange imported")
	b.shows(".list", "/teapot")
}

// With tokens nothing is shown until one is given; one that may only look sees no buttons that change.
func TestLogin(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte("a-token-for-looking-only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := perform(t, strings.Replace(plain, "[access_log]", "[[admin.tokens]]\nname = \"guest\"\nrole = \"read\"\nfile = \""+name+"\"\n[access_log]", 1))
	b := open(t, s.page+"#/upstreams")
	b.shows(".login", "Log in")
	b.set(".login input", "wrong")
	b.click(".login", "Log in")
	b.until("document.querySelector('.failure')")
	b.set(".login input", "a-token-for-looking-only")
	b.click(".login", "Log in")
	b.shows("#u-shop-card", "2 of 2 usable")
	b.shows("main", "You may look, but not change anything.")
	if b.text("#u-shop-card") == "" || value[bool](b, "[...document.querySelectorAll('button')].some(e => e.innerText == 'Drain')") {
		t.Error("who may only look is offered to drain")
	}
}
