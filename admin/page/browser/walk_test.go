package browser_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"weir/internal/testkit"
)

// The walk of docs/inspect.md: predictions of a model server that knows no metrics are counted, and a
// request that failed is found and explained.
func TestWalk(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/inspect.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walk, _ := strings.Cut(string(text), "## A walk")
	file := regexp.MustCompile("(?s)```toml\n(.*?)```").FindStringSubmatch(walk)
	if file == nil {
		t.Fatal("the walk has no configuration")
	}
	model := httptest.NewServer(http.HandlerFunc(serveModel))
	t.Cleanup(model.Close)
	s := perform(t, strings.NewReplacer(
		"address = \"127.0.0.1:8080\"", "address = \"127.0.0.1:0\"\nname = \"web\"", "http://127.0.0.1:8501", model.URL,
		"127.0.0.1:9091", "127.0.0.1:0", "127.0.0.1:9110", "127.0.0.1:0").Replace(file[1]))
	for range 20 {
		s.ask("POST", "/v1/models/pets:predict", `{"instances": [[1], [2]]}`)
	}
	if status := s.ask("POST", "/v1/models/pets:predict", `{"instancez": []}`); status != http.StatusBadRequest {
		t.Fatal("status", status)
	}
	testkit.Eventually(t, "predictions are counted", func() bool {
		r, err := http.Get("http://" + s.MetricsAddr().String() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		page, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(page), `model_predictions_total{route="models",call="pets:predict",class="`)
	})
	b := open(t, s.page+"#/exchanges")
	b.shows(".list", "pets:predict")
	b.write("/status=400")
	b.until("document.querySelectorAll('.x').length == 1")
	b.press(kb.Escape)
	b.write("j")
	b.shows(".detail", "Missing 'inputs' or 'instances' key")
	b.shows(".detail", "Why this route")
	b.click(".detail section", "Request")
	b.shows(".detail", "instancez")
}
