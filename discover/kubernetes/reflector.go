package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"weir/discover"
)

const (
	// answerWithin bounds an answer to a request for a list, and the beginning of one to a watch.
	answerWithin = 10 * time.Second
	// chunk is how many slices the server is asked for at once.
	chunk = 500
	// watchFor is how long a watch lasts; the next one begins where it has ended, which proves that the server is there.
	watchFor = 25 * time.Second
	// grace is how much longer than that the server may take to end it.
	grace = 5 * time.Second
	// pause is the least time from the end of a watch to the next request.
	pause = 100 * time.Millisecond
	// shortest is how long a watch without an event must last.
	shortest = time.Second
	// gather is how long changes are gathered before they are reported.
	gather = 100 * time.Millisecond
	// longest is how many bytes a part of a list may have, and a watch.
	longest = 64 << 20
)

// reflector keeps a copy of the slices that the API server has: it lists them, and watches what changes from then on.
type reflector struct {
	namespace, service string
	api                string // empty: that of the pod's cluster
	token              discover.Secret
	tls                discover.TLSFiles
}

// list is a part of an EndpointSliceList.
type list struct {
	Kind     string `json:"kind"`
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
		Continue        string `json:"continue"` // empty: this is the last part
	} `json:"metadata"`
	Items []slice `json:"items"`
}

// event is one line of a watch.
type event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// status is what the API server says when it does not do what it was asked for.
type status struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// errExpired says that the server does not know the version any more: all must be listed again.
var errExpired = errors.New("the version has expired")

// connection is a client of the API server, and the copy of its slices.
type connection struct {
	*reflector
	client *http.Client
	api    string
	// all are the slices by name, nil until they are listed, and version is how far they have come.
	all     map[string]slice
	version string
}

// follow calls changed with all slices, by name, when they are known, after changes and after each watch. It ends with the
// error of changed, too.
func (r *reflector) follow(ctx context.Context, changed func(all map[string]slice) error) error {
	client, api, err := r.open()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	c := &connection{reflector: r, client: client, api: api}
	for {
		if c.all == nil {
			if err := c.list(ctx); err != nil {
				return err
			}
		}
		if err := changed(c.all); err != nil {
			return err
		}
		switch err := c.watch(ctx, changed); {
		case errors.Is(err, errExpired):
			c.all = nil
		case err != nil:
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ask sends a GET for the slices.
func (c *connection) ask(ctx context.Context, more url.Values) (*http.Response, error) {
	more.Set("labelSelector", ofService+"="+c.service)
	if c.service == every {
		more.Set("labelSelector", ofService)
	}
	place := c.api + "/apis/discovery.k8s.io/v1/namespaces/" + c.namespace + "/endpointslices?" + more.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "weir")
	if err := c.authorize(r); err != nil {
		return nil, err
	}
	answer, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusGone {
		return nil, errExpired
	}
	return nil, discover.RetryAfter(refusal(answer), answer.Header.Get("Retry-After"))
}

// refusal is the error of an answer that is not what was asked for.
func refusal(answer *http.Response) error {
	var s status
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&s); err != nil || s.Message == "" {
		return errors.New("the API server answers " + answer.Status)
	}
	return fmt.Errorf("the API server answers %s: %s", answer.Status, s.Message)
}

// list makes c have all slices as they are now.
func (c *connection) list(ctx context.Context) error {
	err := c.listParts(ctx, chunk)
	if errors.Is(err, errExpired) { // before the last part came
		err = c.listParts(ctx, 0)
	}
	return err
}

// listParts lists all in parts of a size; 0 means at once.
func (c *connection) listParts(ctx context.Context, size int) error {
	more := url.Values{}
	if size > 0 {
		more.Set("limit", strconv.Itoa(size))
	}
	all := make(map[string]slice)
	for {
		part, err := c.listPart(ctx, more)
		if err != nil {
			return err
		}
		for _, item := range part.Items {
			all[item.Metadata.Name] = item
		}
		if part.Metadata.Continue == "" {
			c.all, c.version = all, part.Metadata.ResourceVersion
			return nil
		}
		more.Set("continue", part.Metadata.Continue)
	}
}

func (c *connection) listPart(ctx context.Context, more url.Values) (*list, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := c.ask(ctx, more)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var part list
	if err := json.NewDecoder(io.LimitReader(answer.Body, longest)).Decode(&part); err != nil {
		return nil, fmt.Errorf("the API server's list cannot be read: %w", err)
	}
	if part.Kind != "EndpointSliceList" || part.Metadata.ResourceVersion == "" {
		return nil, fmt.Errorf("the API server's answer is of the kind %q: want EndpointSliceList", part.Kind)
	}
	return &part, nil
}

// watch takes in what changes, until the watch has ended.
func (c *connection) watch(ctx context.Context, changed func(all map[string]slice) error) error {
	ctx, cancel := context.WithTimeout(ctx, watchFor+grace)
	defer cancel()
	begun := time.Now()
	answer, err := c.ask(ctx, url.Values{
		"watch": {"true"}, "resourceVersion": {c.version}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(int(watchFor / time.Second))},
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	events, ended := make(chan event), make(chan error, 1)
	go func() { ended <- decode(ctx, answer.Body, events) }()
	seen := 0
	var gathered <-chan time.Time // nil: there is nothing to report
	for {
		select {
		case e := <-events:
			if err := c.apply(e); err != nil {
				return err
			}
			if seen++; gathered == nil {
				gathered = time.After(gather)
			}
		case <-gathered:
			gathered = nil
			if err := changed(c.all); err != nil {
				return err
			}
		case err := <-ended:
			if err == nil && seen == 0 && time.Since(begun) < shortest {
				return errors.New("the API server ended the watch at once")
			}
			return err
		}
	}
}

// decode passes the events of a watch on until it has ended.
func decode(ctx context.Context, body io.Reader, events chan<- event) error {
	for d := json.NewDecoder(io.LimitReader(body, longest)); ; {
		var e event
		switch err := d.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("the API server's watch cannot be read: %w", err)
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply takes in an event.
func (c *connection) apply(e event) error {
	if e.Type == "ERROR" {
		var s status
		if err := json.Unmarshal(e.Object, &s); err == nil && s.Code == http.StatusGone {
			return errExpired
		}
		return errors.New("the API server ended the watch: " + s.Message)
	}
	var changed slice
	if err := json.Unmarshal(e.Object, &changed); err != nil {
		return fmt.Errorf("an event of the API server cannot be read: %w", err)
	}
	name, version := changed.Metadata.Name, changed.Metadata.ResourceVersion
	if changed.Kind != "EndpointSlice" || version == "" || name == "" && e.Type != "BOOKMARK" {
		return fmt.Errorf("the API server sent an event of the kind %q: want EndpointSlice with name and resourceVersion", changed.Kind)
	}
	switch e.Type {
	case "ADDED", "MODIFIED":
		c.all[name] = changed
	case "DELETED":
		delete(c.all, name)
	case "BOOKMARK":
	default:
		return fmt.Errorf("the API server sent an event of the type %q", e.Type)
	}
	c.version = version
	return nil
}
