package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"weir/admin/page"
	"weir/config"
)

// maxBody bounds the body of a request to the API.
const maxBody = 64 << 10

// The paths of the API.
const (
	pathSession    = "/session"
	pathLogin      = "/login"
	pathLogout     = "/logout"
	pathStatus     = "/status"
	pathUpstreams  = "/upstreams"
	pathRoutes     = "/routes"
	pathStatistics = "/statistics"
	pathConfig     = "/config"
	pathPurge      = "/purge"
	pathDrain      = "/drain"
	pathWeight     = "/weight"
	pathProblems   = "/config/problems"
	pathHistory    = "/history"
	pathCache      = "/cache"
	pathCacheTop   = "/cache/top"
	pathCacheWhy   = "/cache/why"
	pathExplain    = "/explain"
	pathPlan       = "/plan"
	pathInspect    = "/inspect"
	pathExchanges  = "/inspect/exchanges"
	pathStream     = "/inspect/stream"
	pathReplay     = "/inspect/replay"
	pathHAR        = "/inspect/har"
	pathProfiles   = "/debug/pprof/"
)

// Options are what the API gets besides a Weir.
type Options struct {
	// Access returns who may use it now; nil means everyone who can reach it.
	Access func() *Access
	// Log gets each change, with who made it, and refusals; nil discards them.
	Log *slog.Logger
}

type api struct {
	weir     Weir
	access   func() *Access
	files    http.Handler
	log      *slog.Logger
	sessions sessions
	// warned is when a refusal was logged last.
	warned atomic.Int64
}

// Handler returns the API. Every response except the profiles of net/http/pprof, bodies that were
// recorded, and the page is JSON. An error is {"error": "..."} with status 400 (the request is wrong), 401 (a token
// is needed), 403 (the role does not allow it, or a page of elsewhere made a browser send it),
// 404 (what it names does not exist) or 405.
func Handler(w Weir, o Options) http.Handler {
	a := &api{weir: w, access: o.Access, files: page.Handler(), log: o.Log}
	if a.access == nil {
		everyone := new(Access)
		a.access = func() *Access { return everyone }
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	return a
}

// isPage says whether a path is one of the page, which holds no data.
func isPage(path string) bool { return path == "/" || strings.HasPrefix(path, page.Root) }

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	if err := a.checkOrigin(r); err != nil {
		a.warn(r, err)
		fail(w, http.StatusForbidden, err)
		return
	}
	switch reads := r.Method == http.MethodGet || r.Method == http.MethodHead; {
	case reads && r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Redirect(w, r, strings.TrimPrefix(page.Root, "/"), http.StatusFound)
	case reads && strings.HasPrefix(r.URL.Path, page.Root):
		a.files.ServeHTTP(w, r)
	default:
		a.serveAPI(w, r)
	}
}

func (a *api) serveAPI(w http.ResponseWriter, r *http.Request) {
	e, methods := find(r)
	switch {
	case len(methods) == 0:
		fail(w, http.StatusNotFound, fmt.Errorf("found path %q: want %s", r.URL.Path, config.OneOf(paths())))
		return
	case e == nil:
		w.Header().Set("Allow", strings.Join(methods, ", "))
		fail(w, http.StatusMethodNotAllowed, fmt.Errorf("found method %q for %s: want %s", r.Method, r.URL.Path, config.OneOf(methods)))
		return
	}
	who, ok := a.authorize(w, r, e.role)
	switch {
	case !ok:
	case e.role == config.RoleWrite:
		a.change(w, r, who, func(w http.ResponseWriter, r *http.Request) { e.serve(a, w, r) })
	default:
		e.serve(a, w, r)
	}
}

// endpoint serves one path, or, if the path ends in a slash, all that begin so.
type endpoint struct {
	path, method string
	// role is what callers need; empty for none.
	role  string
	serve func(a *api, w http.ResponseWriter, r *http.Request)
}

// endpoints are what the API has, in the order in which errors have the paths.
var endpoints = [...]endpoint{
	{pathSession, http.MethodGet, "", (*api).session},
	{pathLogin, http.MethodPost, "", (*api).login},
	{pathLogout, http.MethodPost, "", (*api).logout},
	{pathStatus, http.MethodGet, config.RoleRead, (*api).status},
	{pathUpstreams, http.MethodGet, config.RoleRead, (*api).upstreams},
	{pathRoutes, http.MethodGet, config.RoleRead, (*api).routes},
	{pathStatistics, http.MethodGet, config.RoleRead, (*api).statistics},
	{pathConfig, http.MethodGet, config.RoleRead, (*api).config},
	{pathPurge, http.MethodPost, config.RoleWrite, (*api).purge},
	{pathDrain, http.MethodPost, config.RoleWrite, (*api).drain},
	{pathWeight, http.MethodPost, config.RoleWrite, (*api).weight},
	{pathProblems, http.MethodGet, config.RoleRead, (*api).problems},
	{pathHistory, http.MethodGet, config.RoleRead, (*api).history},
	{pathCache, http.MethodGet, config.RoleRead, (*api).cacheStats},
	{pathCacheTop, http.MethodGet, config.RoleRead, (*api).cacheTop},
	{pathCacheWhy, http.MethodGet, config.RoleRead, (*api).cacheWhy},
	{pathExplain, http.MethodGet, config.RoleRead, (*api).explain},
	{pathPlan, http.MethodGet, config.RoleRead, (*api).plan},
	{pathInspect, http.MethodGet, config.RoleRead, (*api).inspectState},
	{pathExchanges, http.MethodGet, config.RoleRead, (*api).exchanges},
	{pathExchanges, http.MethodDelete, config.RoleWrite, (*api).clearExchanges},
	{pathExchanges + "/", http.MethodGet, config.RoleRead, (*api).exchange},
	{pathReplay, http.MethodPost, config.RoleWrite, (*api).replay},
	{pathHAR, http.MethodGet, config.RoleRead, (*api).exportHAR},
	{pathHAR, http.MethodPost, config.RoleWrite, (*api).importHAR},
	{pathStream, http.MethodGet, config.RoleRead, (*api).stream},
	{pathRegistry, http.MethodGet, config.RoleRead, (*api).services},
	{pathRegistry + "/", http.MethodPut, config.RoleWrite, (*api).entry},
	{pathRegistry + "/", http.MethodDelete, config.RoleWrite, (*api).entry},
	{pathRegistry + "/", http.MethodPost, config.RoleWrite, (*api).entry},
	{pathSources, http.MethodGet, config.RoleRead, (*api).sources},
	{pathCertificates, http.MethodGet, config.RoleRead, (*api).certificates},
	{pathProfiles, http.MethodGet, config.RoleRead, (*api).profile},
}

// paths are those of the API, for errors.
func paths() (list []string) {
	for _, e := range endpoints {
		if !slices.Contains(list, e.path) {
			list = append(list, e.path)
		}
	}
	return list
}

// find returns what serves a request; nil for a wrong method. methods are those that the path has, none
// for an unknown path.
func find(r *http.Request) (found *endpoint, methods []string) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for i := range endpoints {
		e := &endpoints[i]
		if e.path != r.URL.Path && !(strings.HasSuffix(e.path, "/") && strings.HasPrefix(r.URL.Path, e.path)) {
			continue
		}
		methods = append(methods, e.method)
		if e.method == method {
			found = e
		}
	}
	return found, methods
}

// profile answers with a profile of the running process.
func (*api) profile(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, pathProfiles) {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r) // serves the other profiles by name
	}
}

func (a *api) purge(w http.ResponseWriter, r *http.Request) {
	var p Purge
	err := decode(r.Body, map[string]any{
		"url": &p.URL, "host": &p.Host, "prefix": &p.Prefix, "group": &p.Group, "all": &p.All, "soft": &p.Soft,
	})
	if err == nil {
		err = p.Check()
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	what, name := p.Named()
	describe(r, what, name, "soft", p.Soft)
	done, err := a.weir.Purge(p)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	status := http.StatusOK
	if len(done.Pending) > 0 {
		status = http.StatusAccepted
	}
	answer(w, status, done)
}

// Check returns what is wrong with p as the API reports it.
func (p *Purge) Check() error {
	var given []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"url", p.URL != ""}, {"host", p.Host != ""}, {"prefix", p.Prefix != ""}, {"group", p.Group != ""}, {"all", p.All}} {
		if f.set {
			given = append(given, f.name)
		}
	}
	if len(given) != 1 {
		found := "nothing to purge"
		if len(given) > 0 {
			found = strings.Join(given, " and ")
		}
		return fmt.Errorf(`found %s: want exactly one of "url", "host", "prefix", "group" and "all"`, found)
	}
	switch {
	case p.URL != "":
		return checkURL("url", p.URL, "https://host/path?query")
	case p.Prefix != "":
		return checkURL("prefix", p.Prefix, "https://host/path/")
	case strings.ContainsAny(p.Host, "/?#@ "):
		return fmt.Errorf(`host: found %q: want "host" or "host:port"`, p.Host)
	}
	return nil
}

// checkURL checks scheme and host of a URL. It does not check the request target,
// because cache keys contain that byte for byte.
func checkURL(name, url, want string) error {
	scheme, rest, _ := strings.Cut(url, "://")
	known := strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
	if !known || rest == "" || strings.ContainsAny(rest[:1], "/?") || strings.ContainsAny(url, "# \r\n\t") {
		return fmt.Errorf("%s: found %q: want http:// or https://, as in %q", name, url, want)
	}
	return nil
}

func (a *api) drain(w http.ResponseWriter, r *http.Request) {
	var upstream, target string
	var on *bool
	err := decode(r.Body, map[string]any{"upstream": &upstream, "target": &target, "on": &on})
	if err == nil {
		err = checkTarget(upstream, target)
	}
	if err == nil && on == nil {
		err = errors.New("on: found nothing: want true or false")
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	describe(r, "upstream", upstream, "target", target, "on", *on)
	t, err := a.weir.Drain(upstream, target, *on)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	answer(w, http.StatusOK, t)
}

// checkTarget says what is missing to name a target.
func checkTarget(upstream, target string) error {
	switch {
	case upstream == "":
		return errors.New("upstream: found nothing: want the name of an upstream")
	case target == "":
		return errors.New("target: found nothing: want the URL of a target")
	}
	return nil
}

// checkWeight says what is wrong with a weight; 0 stands for that of the configuration.
func checkWeight(weight *int) error {
	switch {
	case weight == nil:
		return fmt.Errorf("weight: found nothing: want 1 to %d, or 0 for that of the configuration", config.MaxWeight)
	case *weight < 0 || *weight > config.MaxWeight:
		return fmt.Errorf("weight: found %d: want 1 to %d, or 0 for that of the configuration", *weight, config.MaxWeight)
	}
	return nil
}

func (a *api) upstreams(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, upstreams{a.weir.Upstreams()})
}

// decode reads a JSON object and stores its members where fields points to.
func decode(body io.Reader, fields map[string]any) error {
	text, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return fmt.Errorf("cannot read the body: %w", err)
	}
	if len(text) > maxBody {
		return fmt.Errorf("found a body of more than %d bytes: want fewer", maxBody)
	}
	names := slices.Sorted(maps.Keys(fields))
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil || members == nil {
		return fmt.Errorf("found a body that is no JSON object: want one with %s", config.OneOf(names))
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		field, known := fields[name]
		if !known {
			err := fmt.Errorf("found the field %q: want %s", name, config.OneOf(names))
			if meant := config.Nearest(name, names); meant != "" {
				err = fmt.Errorf("%w; did you mean %q?", err, meant)
			}
			return err
		}
		if err := json.Unmarshal(members[name], field); err != nil {
			want := "true or false"
			switch field.(type) {
			case *string:
				want = "a string"
			case **int:
				want = "a whole number"
			}
			return fmt.Errorf("%s: found %s: want %s", name, short(members[name]), want)
		}
	}
	return nil
}

// short returns a value shortened for an error.
func short(value []byte) string {
	if len(value) > 60 {
		return strconv.Quote(string(value[:60]) + "...")
	}
	return string(value)
}

func fail(w http.ResponseWriter, status int, err error) { answer(w, status, failure{err.Error()}) }

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v) // fails only if the caller closed its connection
}
