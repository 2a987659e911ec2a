package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"weir/discover"
	"weir/lb"
)

const (
	// answerWithin bounds a list.
	answerWithin = 10 * time.Second
	// watchFor is how long a watch lasts; when it has ended, all is listed again, which proves
	// that the server is there.
	watchFor = 25 * time.Second
	// grace is how much longer than that the server may take to end it.
	grace = 5 * time.Second
	// pause is the least time from the end of a watch to the next list.
	pause = 100 * time.Millisecond
	// longest is how many bytes a list may have, and a watch.
	longest = 64 << 20
)

// source lists and watches the slices of a service.
type source struct {
	namespace, service, port string
	// scheme is that of the endpoints.
	scheme     string
	api        string // empty: that of the pod's cluster
	token      discover.Secret
	tls        discover.TLSFiles
	complaints *discover.Complaints
}

// slice is what is needed of an EndpointSlice (discovery.k8s.io/v1).
type slice struct {
	Metadata struct {
		Name            string            `json:"name"`
		ResourceVersion string            `json:"resourceVersion"`
		Labels          map[string]string `json:"labels"`
	} `json:"metadata"`
	Endpoints []struct {
		Addresses  []string `json:"addresses"`
		Conditions struct {
			Ready       *bool `json:"ready"`
			Serving     *bool `json:"serving"`
			Terminating *bool `json:"terminating"`
		} `json:"conditions"`
	} `json:"endpoints"`
	Ports []struct {
		Name *string `json:"name"`
		Port *int    `json:"port"`
	} `json:"ports"`
}

// list is an EndpointSliceList.
type list struct {
	Kind     string `json:"kind"`
	Metadata struct {
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
	Items []slice `json:"items"`
}

// event is one line of a watch.
type event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// Run reports the endpoints in the slices of the service.
func (s *source) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.follow(ctx, func(all map[string]slice) error {
		found, err := s.endpoints(all)
		if err == nil {
			report(found)
		}
		return err
	})
}

// follow calls changed with all slices, by name, when they are known, after each change and after each
// watch.
func (s *source) follow(ctx context.Context, changed func(all map[string]slice) error) error {
	client, api, err := s.open()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	for {
		all, version, err := s.list(ctx, client, api)
		if err != nil {
			return err
		}
		if err := changed(all); err != nil {
			return err
		}
		err = s.watch(ctx, client, api, version, func(e event) error {
			if err := apply(all, e); err != nil {
				return err
			}
			return changed(all)
		})
		if err != nil && !errors.Is(err, errExpired) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errExpired says that the server does not know the version any more: all must be listed again.
var errExpired = errors.New("the version has expired")

// ask sends a GET for the slices.
func (s *source) ask(ctx context.Context, client *http.Client, api string, more url.Values) (*http.Response, error) {
	more.Set("labelSelector", ofService+"="+s.service)
	if s.service == every {
		more.Set("labelSelector", ofService)
	}
	place := api + "/apis/discovery.k8s.io/v1/namespaces/" + s.namespace + "/endpointslices?" + more.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, place, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "weir")
	if err := s.authorize(r); err != nil {
		return nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		if answer.StatusCode == http.StatusGone {
			return nil, errExpired
		}
		return nil, errors.New("the API server answers " + answer.Status)
	}
	return answer, nil
}

// list returns all slices by name, and the version from which on to watch.
func (s *source) list(ctx context.Context, client *http.Client, api string) (map[string]slice, string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := s.ask(ctx, client, api, url.Values{})
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	var found list
	if err := json.NewDecoder(io.LimitReader(answer.Body, longest)).Decode(&found); err != nil {
		return nil, "", fmt.Errorf("the API server's list cannot be read: %w", err)
	}
	if found.Kind != "EndpointSliceList" || found.Metadata.ResourceVersion == "" {
		return nil, "", fmt.Errorf("the API server's answer is of the kind %q: want EndpointSliceList", found.Kind)
	}
	all := make(map[string]slice)
	for _, item := range found.Items {
		all[item.Metadata.Name] = item
	}
	return all, found.Metadata.ResourceVersion, nil
}

// watch calls changed with each event from a version on, until the watch has ended.
func (s *source) watch(ctx context.Context, client *http.Client, api, version string, changed func(event) error) error {
	ctx, cancel := context.WithTimeout(ctx, watchFor+grace)
	defer cancel()
	answer, err := s.ask(ctx, client, api, url.Values{
		"watch": {"true"}, "resourceVersion": {version}, "allowWatchBookmarks": {"true"}, "timeoutSeconds": {strconv.Itoa(int(watchFor / time.Second))},
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for events := json.NewDecoder(io.LimitReader(answer.Body, longest)); ; {
		var e event
		switch err := events.Decode(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := changed(e); err != nil {
			return err
		}
	}
}

// apply takes in an event.
func apply(all map[string]slice, e event) error {
	if e.Type == "ERROR" {
		var status struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(e.Object, &status); err == nil && status.Code == http.StatusGone {
			return errExpired
		}
		return errors.New("the API server ended the watch: " + status.Message)
	}
	var changed slice
	if err := json.Unmarshal(e.Object, &changed); err != nil {
		return fmt.Errorf("an event of the API server cannot be read: %w", err)
	}
	switch e.Type {
	case "ADDED", "MODIFIED":
		all[changed.Metadata.Name] = changed
	case "DELETED":
		delete(all, changed.Metadata.Name)
	case "BOOKMARK":
	default:
		return fmt.Errorf("the API server sent an event of the type %q", e.Type)
	}
	return nil
}

// endpoints returns those that are ready. One that is going away and still serves gets no new exchanges.
func (s *source) endpoints(all map[string]slice) ([]lb.Endpoint, error) {
	found := []lb.Endpoint{}
	var bad []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		port, ok := s.portOf(all[name])
		if !ok {
			bad = append(bad, fmt.Errorf("slice %q: found no port %q", name, s.port))
			continue
		}
		found = append(found, s.ready(all[name], port)...)
	}
	s.complaints.Tell(bad)
	if len(found) == 0 && len(bad) > 0 {
		return nil, bad[0]
	}
	return found, nil
}

// ready returns those of one slice.
func (s *source) ready(of slice, port string) (found []lb.Endpoint) {
	for _, e := range of.Endpoints {
		ready := e.Conditions.Ready == nil || *e.Conditions.Ready
		leaving := is(e.Conditions.Terminating) && is(e.Conditions.Serving)
		if len(e.Addresses) == 0 || !ready && !leaving {
			continue
		}
		// All addresses of an endpoint are the same pod: clients use the first.
		found = append(found, lb.Endpoint{URL: s.scheme + "://" + net.JoinHostPort(e.Addresses[0], port), Weight: 1, Drain: leaving})
	}
	return found
}

func is(flag *bool) bool { return flag != nil && *flag }

// portOf returns the number of the port that has the name or number.
func (s *source) portOf(of slice) (string, bool) {
	for _, p := range of.Ports {
		if p.Port == nil {
			continue
		}
		number := strconv.Itoa(*p.Port)
		if number == s.port || p.Name != nil && *p.Name == s.port {
			return number, true
		}
	}
	return "", false
}
