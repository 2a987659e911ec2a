package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrNotRegistered is the error of what names an endpoint or service that the registry does
// not have.
var ErrNotRegistered = errors.New("the registry does not have that")

// Endpoint is an endpoint of a service in the registry.
type Endpoint struct {
	URL      string `json:"url"`
	Weight   int    `json:"weight"`
	Priority int    `json:"priority"`
	Drain    bool   `json:"drain"`
	// Catalog is the URL, without secrets, of the catalog that reports it; empty if it was
	// registered by the API or by the program.
	Catalog string `json:"catalog,omitempty"`
	// TTL is after how many seconds without a heartbeat it goes; 0 means never.
	TTL float64 `json:"ttl_seconds,omitempty"`
	// Seen is when it was last registered or reported.
	Seen time.Time `json:"seen"`
	// Failures are the failed attempts in a row since.
	Failures int `json:"failures,omitempty"`
	// Missing is since when its catalog has nothing of the service, which is not believed yet.
	Missing *time.Time `json:"missing,omitempty"`
}

// Service is a service in the registry.
type Service struct {
	Name      string     `json:"name"`
	Version   string     `json:"version"`
	Endpoints []Endpoint `json:"endpoints"`
}

// Registration is what PUT tells the registry of an endpoint.
type Registration struct {
	Weight   int           // 0 means 1
	Priority int           // 0 to 15
	Drain    bool          // no new exchanges
	TTL      time.Duration // 0 means for good
}

// Source is a source of targets, or of services.
type Source struct {
	// Upstream is the upstream whose targets the source finds; empty for a catalog.
	Upstream string `json:"upstream,omitempty"`
	// Name is its URL without secrets.
	Name string `json:"name"`
	// Seen is when it last reported; null if it never did. Age is how many seconds ago.
	Seen *time.Time `json:"seen"`
	Age  float64    `json:"age_seconds,omitempty"`
	// Failing is why it fails; empty if it does not. FailingSince is when that began.
	Failing      string     `json:"failing,omitempty"`
	FailingSince *time.Time `json:"failing_since,omitempty"`
	Failures     uint64     `json:"failures"`
	// Endpoints are how many of its endpoints are in use, Rejected how many of its last report
	// cannot be used.
	Endpoints int `json:"endpoints"`
	Rejected  int `json:"rejected,omitempty"`
	// EmptySince is since when it finds nothing, which is not believed yet.
	EmptySince *time.Time `json:"empty_since,omitempty"`
	// Restored says that its endpoints are from before the start.
	Restored bool `json:"restored,omitempty"`
	// Held are endpoints that come and go, with the time when they will be used.
	Held map[string]time.Time `json:"held,omitempty"`
}

type (
	services struct {
		Services []Service `json:"services"`
	}
	sources struct {
		Sources []Source `json:"sources"`
	}
)

const (
	pathRegistry = "/registry"
	pathSources  = "/sources"
)

func (a *api) services(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, services{a.weir.Services()})
}

func (a *api) sources(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, sources{a.weir.Sources()})
}

// wantEntry is what paths below /registry are.
const wantEntry = `"/registry/NAME/VERSION/ENDPOINT" to PUT, DELETE or POST a failure, or "/registry/NAME/VERSION" to DELETE; VERSION may be "-" for none, and ENDPOINT is "host:port" or a URL with "/" as "%2F"`

// entry is what a path below /registry names.
type entry struct{ name, version, url string }

// parseEntry reads a path below /registry; url is empty if the path names a service.
func parseEntry(path string) (e entry, err error) {
	parts := strings.Split(strings.TrimPrefix(path, pathRegistry+"/"), "/")
	for i, part := range parts {
		if parts[i], err = url.PathUnescape(part); err != nil || parts[i] == "" {
			return e, fmt.Errorf("found path %q: want %s", path, wantEntry)
		}
	}
	if len(parts) < 2 || len(parts) > 3 {
		return e, fmt.Errorf("found path %q: want %s", path, wantEntry)
	}
	if e.name, e.version = parts[0], parts[1]; e.version == "-" {
		e.version = ""
	}
	if len(parts) == 3 {
		if e.url = parts[2]; !strings.Contains(e.url, "://") && !strings.HasPrefix(e.url, "unix:") && !strings.HasPrefix(e.url, "demo:") && !strings.HasPrefix(e.url, "handler:") {
			e.url = "http://" + e.url
		}
	}
	return e, nil
}

// path returns the path below /registry that parseEntry reads.
func (e *entry) path() string {
	version := e.version
	if version == "" {
		version = "-"
	}
	path := pathRegistry + "/" + url.PathEscape(e.name) + "/" + url.PathEscape(version)
	if e.url != "" {
		path += "/" + url.PathEscape(e.url)
	}
	return path
}

// entry serves what is below /registry.
func (a *api) entry(w http.ResponseWriter, r *http.Request) {
	e, err := parseEntry(r.URL.EscapedPath())
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	var done any = struct{}{}
	switch {
	case r.Method == http.MethodDelete && e.url == "":
		err = a.weir.RemoveService(e.name, e.version)
	case r.Method == http.MethodDelete:
		err = a.weir.Deregister(e.name, e.version, e.url)
	case r.Method == http.MethodPut && e.url != "":
		var registration Registration
		if registration, err = decodeRegistration(r.Body); err == nil {
			done, err = a.weir.Register(e.name, e.version, e.url, registration)
		}
	case r.Method == http.MethodPost && e.url != "":
		done, err = a.weir.ReportFailure(e.name, e.version, e.url)
	default:
		w.Header().Set("Allow", http.MethodDelete)
		fail(w, http.StatusMethodNotAllowed, fmt.Errorf("found method %q for %s: want %s", r.Method, r.URL.Path, wantEntry))
		return
	}
	switch {
	case errors.Is(err, ErrNotRegistered):
		fail(w, http.StatusNotFound, err)
	case errors.Is(err, ErrNotKept):
		fail(w, http.StatusInternalServerError, err)
	case err != nil:
		fail(w, http.StatusBadRequest, err)
	default:
		answer(w, http.StatusOK, done)
	}
}

// ErrNotKept is the error of a change that counts, but would be lost with a restart.
var ErrNotKept = errors.New("the change counts, but cannot be written to the file of discovery.persist")

// decodeRegistration reads the body of a PUT, which may be empty.
func decodeRegistration(body io.Reader) (r Registration, err error) {
	text, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return r, fmt.Errorf("cannot read the body: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return r, nil
	}
	var ttl string
	var weight, priority *int
	if err := decode(bytes.NewReader(text), map[string]any{"ttl": &ttl, "weight": &weight, "priority": &priority, "drain": &r.Drain}); err != nil {
		return r, err
	}
	if ttl != "" {
		if r.TTL, err = time.ParseDuration(ttl); err != nil || r.TTL <= 0 {
			return r, fmt.Errorf("ttl: found %q: want a time span of more than 0 such as \"30s\"", ttl)
		}
	}
	if weight != nil {
		if *weight == 0 {
			return r, errors.New("weight: found 0: want 1 or more (drain sends nothing)")
		}
		r.Weight = *weight
	}
	if priority != nil {
		r.Priority = *priority
	}
	return r, nil
}

// Services returns what the registry has.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	var got services
	err := c.get(ctx, pathRegistry, &got)
	return got.Services, err
}

// Sources returns how the sources of targets and services are.
func (c *Client) Sources(ctx context.Context) ([]Source, error) {
	var got sources
	err := c.get(ctx, pathSources, &got)
	return got.Sources, err
}

// Register adds an endpoint to the registry, or changes it; it is also its heartbeat.
func (c *Client) Register(ctx context.Context, name, version, endpoint string, r Registration) (done Endpoint, err error) {
	body := map[string]any{"weight": max(r.Weight, 1), "priority": r.Priority, "drain": r.Drain}
	if r.TTL > 0 {
		body["ttl"] = r.TTL.String()
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic("BUG: cannot encode a request: " + err.Error())
	}
	answer, err := c.call(ctx, http.MethodPut, (&entry{name, version, endpoint}).path(), text)
	if err != nil {
		return done, err
	}
	return done, c.read(answer, &done)
}

// Deregister removes an endpoint from the registry. The error is ErrNotRegistered if it is not there.
func (c *Client) Deregister(ctx context.Context, name, version, endpoint string) error {
	_, err := c.call(ctx, http.MethodDelete, (&entry{name, version, endpoint}).path(), nil)
	if err != nil && strings.HasSuffix(err.Error(), ErrNotRegistered.Error()) {
		return ErrNotRegistered
	}
	return err
}
