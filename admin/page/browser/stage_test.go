package browser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// stage is a weir with services behind it and an admin page.
type stage struct {
	*server.Server
	t *testing.T
	// page is the address of the page, web that of the listener.
	page, web string
	config    string
}

// plain are services that answer at once.
const plain = `
[[listeners]]
name = "web"
address = "127.0.0.1:0"
[admin]
address = "127.0.0.1:0"
[access_log]
output = "off"
[inspect]
sample = 1.0
secrets = ["card_number"]
[[routes]]
name = "models"
path = "/v1/models/{call}"
upstream = "models"
[[routes]]
name = "shop"
path = "/shop/"
upstream = "shop"
cache = { default_ttl = "20s" }
[[routes]]
name = "old shop"
path = "/store/{rest...}"
redirect = { to = "/shop/{rest}", status = 308 }
[[routes]]
name = "teapot"
path = "/teapot"
respond = { status = 418, body = "short and stout" }
[upstreams.models]
targets = [{ url = "MODEL-A", weight = 3 }, "MODEL-B"]
[upstreams.shop]
targets = ["SHOP-A", "SHOP-B"]
`

// perform starts weir with a configuration in which MODEL-A and so on stand for services, and more after
// it.
func perform(t *testing.T, text string) *stage {
	t.Helper()
	replace := []string{"SHOP-GONE", "http://" + testkit.Reserve(t)}
	for name, h := range map[string]http.HandlerFunc{"MODEL-A": serveModel, "MODEL-B": serveModel, "SHOP-A": serveShop, "SHOP-B": serveShop} {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		replace = append(replace, name, s.URL)
	}
	text = strings.NewReplacer(replace...).Replace(text)
	s := &stage{t: t, config: text, Server: launch(t, parse(t, text), server.WithVersion("1.0.0"), server.WithAccessLogWriter(io.Discard))}
	s.page, s.web = "http://"+s.AdminAddr().String()+"/ui/", "http://"+s.Addr("web").String()
	return s
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("weir.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// launch starts weir until the end of the test.
func launch(t *testing.T, cfg *config.Config, options ...server.Option) *server.Server {
	t.Helper()
	w, err := server.New(cfg, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	return w
}

// get asks weir for a path, and fields of the request may follow: "Host: a.example".
func (s *stage) get(path string) int { return s.ask("GET", path, "") }

func (s *stage) ask(method, path, body string) int {
	s.t.Helper()
	return ask(s.t, method, s.web+path, body)
}

// ask sends a request and returns the status of the answer.
func ask(t *testing.T, method, url, body string) int {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// register registers an endpoint, "NAME/VERSION/ENDPOINT", by the admin API at an address.
func register(t *testing.T, admin, path, ttl string) {
	t.Helper()
	if status := ask(t, http.MethodPut, admin+"/registry/"+path, fmt.Sprintf(`{"ttl":%q}`, ttl)); status/100 != 2 {
		t.Fatalf("%s is registered with the status %d", path, status)
	}
}

// serveModel answers as the REST API of TensorFlow Serving does.
func serveModel(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Instances []json.RawMessage `json:"instances"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Instances) == 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{ "error": "Missing 'inputs' or 'instances' key" }`)
		return
	}
	time.Sleep(time.Duration(2+rand.ExpFloat64()*6) * time.Millisecond)
	type prediction struct {
		Classes []string  `json:"classes"`
		Scores  []float64 `json:"scores"`
	}
	var answer struct {
		Predictions []prediction `json:"predictions"`
	}
	for range asked.Instances {
		p := 0.5 + rand.Float64()/2
		classes := [][]string{{"cat", "dog"}, {"dog", "cat"}, {"horse", "dog"}}[rand.IntN(3)]
		answer.Predictions = append(answer.Predictions, prediction{classes, []float64{p, 1 - p}})
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// picture is a small image.
var picture = sync.OnceValue(func() []byte {
	m := image.NewRGBA(image.Rect(0, 0, 240, 160))
	for y := range 160 {
		for x := range 240 {
			m.Set(x, y, color.RGBA{uint8(x), uint8(80 + y), uint8(200 - x/2), 255})
		}
	}
	var b bytes.Buffer
	png.Encode(&b, m) // cannot fail in memory
	return b.Bytes()
})

// serveShop answers pages, lists, pictures, and sometimes slowly or not at all.
func serveShop(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, ".png"):
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(picture())
	case strings.Contains(path, "/cart"):
		w.Header().Set("Cache-Control", "private")
		w.Header().Set("Set-Cookie", "cart=17; HttpOnly")
		time.Sleep(time.Duration(rand.ExpFloat64()*25) * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"items":[{"id":7,"name":"kettle","price":24.9}],"total":24.9}`)
	case strings.Contains(path, "/fail"):
		http.Error(w, `{"error":"the database is away"}`, http.StatusInternalServerError)
	case strings.Contains(path, "/none"):
		http.NotFound(w, r)
	default:
		time.Sleep(time.Duration(rand.ExpFloat64()*12) * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"path":%q,"products":[{"id":1,"name":"teapot","price":39},{"id":2,"name":"cup","price":6.5}]}`, path)
	}
}

// traffic sends requests of all kinds, as users do, until ctx ends.
func (s *stage) traffic(ctx context.Context, clients int) {
	var running sync.WaitGroup
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for range clients {
		running.Go(func() {
			for ctx.Err() == nil {
				method, path, body := someRequest()
				r, err := http.NewRequestWithContext(ctx, method, s.web+path, strings.NewReader(body))
				if err != nil {
					s.t.Error(err)
					return
				}
				if body != "" {
					r.Header.Set("Content-Type", "application/json")
				}
				if method == "POST" {
					r.Header.Set("Authorization", "Bearer a-secret-of-the-client")
				}
				if response, err := client.Do(r); err == nil {
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				wave := 1 + float64(time.Now().Second()%20)/10
				select {
				case <-time.After(time.Duration(rand.ExpFloat64()*120/wave) * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	running.Wait()
}

// someRequest is one of the requests that users make.
func someRequest() (method, path, body string) {
	switch n := rand.IntN(100); {
	case n < 30:
		return "POST", "/v1/models/pets:predict", `{"instances": [{"pixels": [0.1, 0.9, 0.3]}]}`
	case n < 32:
		return "POST", "/v1/models/pets:predict", `{"instancez": []}`
	case n < 60:
		return "GET", fmt.Sprintf("/shop/products/%d", rand.IntN(40)), ""
	case n < 75:
		return "GET", fmt.Sprintf("/shop/pictures/%d.png", rand.IntN(12)), ""
	case n < 84:
		return "POST", "/shop/cart", `{"add": 7, "card_number": "4111 1111 1111 1111"}`
	case n < 86:
		return "GET", "/shop/fail", ""
	case n < 90:
		return "GET", "/shop/none", ""
	case n < 94:
		return "GET", "/store/products/1", ""
	case n < 97:
		return "GET", "/teapot", ""
	}
	return "GET", "/favicon.ico", ""
}

// someID is the id of the newest recorded exchange that fits a filter. It is waited for: clients have
// their answer before an exchange is recorded.
func (s *stage) someID(filter string) (id string) {
	s.t.Helper()
	testkit.Eventually(s.t, "an exchange fits "+filter, func() bool {
		r, err := http.Get("http://" + s.AdminAddr().String() + "/inspect/exchanges?limit=1&filter=" + url.QueryEscape(filter))
		if err != nil {
			s.t.Fatal(err)
		}
		defer r.Body.Close()
		var found struct{ Exchanges []struct{ ID string } }
		if err := json.NewDecoder(r.Body).Decode(&found); err != nil {
			s.t.Fatal(err)
		}
		if len(found.Exchanges) == 0 {
			return false
		}
		id = found.Exchanges[0].ID
		return true
	})
	return id
}
