package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/BurntSushi/toml"

	"weir/config"
)

// Status is how a weir is, as operators see it.
type Status struct {
	// Version is weir's, Go that of the Go release that built it.
	Version string `json:"version"`
	Go      string `json:"go"`
	PID     int    `json:"pid"`
	// State is "serving", or "draining" once weir was told to stop.
	State   string    `json:"state"`
	Started time.Time `json:"started"`
	// Loaded is when the configuration in force was loaded.
	Loaded time.Time `json:"loaded"`
	// Reloads and FailedReloads count since the start. ReloadFailed says that the last one
	// did: the configuration in force is then not that of the file.
	Reloads       uint64 `json:"reloads"`
	FailedReloads uint64 `json:"failed_reloads"`
	ReloadFailed  bool   `json:"reload_failed"`
	// LastReloads are the newest of them, the newest first.
	LastReloads []Reload `json:"last_reloads"`
	// Running counts the exchanges that run now, those of old configurations included.
	Running   int               `json:"running"`
	Listeners []Listener        `json:"listeners"`
	Upstreams []UpstreamSummary `json:"upstreams"`
}

// Reload is how one reload went.
type Reload struct {
	Time time.Time `json:"time"`
	OK   bool      `json:"ok"`
	// Error says why it failed; it may have several lines.
	Error string `json:"error,omitempty"`
}

// Listener is a listener as operators see it.
type Listener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	TLS     bool   `json:"tls"`
	// Open and Accepted count connections: those open now, and all.
	Open     int    `json:"open"`
	Accepted uint64 `json:"accepted"`
}

// UpstreamSummary is how an upstream is as a whole.
type UpstreamSummary struct {
	Name    string `json:"name"`
	Targets int    `json:"targets"`
	// Usable counts the targets that get exchanges.
	Usable  int `json:"usable"`
	Running int `json:"running"`
}

// Route is a route as operators see it.
type Route struct {
	Name string `json:"name"`
	// Match are the conditions by the names of their keys; a request must fit all.
	Match map[string]any `json:"match"`
	// Does is what the route does, in words: `upstream "shop"`.
	Does  string `json:"does"`
	Cache bool   `json:"cache"`
}

type problems struct {
	Problems []string `json:"problems"`
}

type routes struct {
	Routes []Route `json:"routes"`
}

func (a *api) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.weir.Status())
}

func (a *api) routes(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, routes{a.weir.Routes()})
}

func (a *api) problems(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, problems{a.weir.Problems()})
}

type origins struct {
	Keys []config.Origin `json:"keys"`
}

// config answers with the configuration in force: ?all=true with every key, ?format=toml
// as a file, ?format=origins as a list of keys with what has set each.
func (a *api) config(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	all := query.Get("all")
	if all != "" && all != "true" && all != "false" {
		fail(w, http.StatusBadRequest, fmt.Errorf("all: found %q: want true or false", all))
		return
	}
	if query.Get("format") == "origins" {
		answer(w, http.StatusOK, origins{a.weir.Origins(all == "true")})
		return
	}
	shown := a.weir.Config(all == "true")
	switch format := query.Get("format"); format {
	case "", "json":
		answer(w, http.StatusOK, shown)
	case "toml":
		var b bytes.Buffer
		e := toml.NewEncoder(&b)
		e.Indent = ""
		if err := e.Encode(shown); err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		w.Header().Set("Content-Type", "application/toml")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(b.Bytes()) // fails only if the caller closed its connection
	default:
		fail(w, http.StatusBadRequest, fmt.Errorf(`format: found %q: want "json", "toml" or "origins"`, format))
	}
}

func (a *api) weight(w http.ResponseWriter, r *http.Request) {
	var upstream, target string
	var weight *int
	err := decode(r.Body, map[string]any{"upstream": &upstream, "target": &target, "weight": &weight})
	if err == nil {
		err = checkTarget(upstream, target)
	}
	if err == nil {
		err = checkWeight(weight)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	describe(r, "upstream", upstream, "target", target, "weight", *weight)
	t, err := a.weir.SetWeight(upstream, target, *weight)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	answer(w, http.StatusOK, t)
}
