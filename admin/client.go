package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"weir/config"
)

// maxAnswer bounds what the client reads of an answer.
const maxAnswer = 256 << 20

// Client calls the API of a running weir.
type Client struct {
	// Address is where the API listens. A host that stands for all addresses of
	// a machine means this machine.
	Address config.Address
	// Token is shown with each request; empty means that none is.
	Token string
	// TLS is how the client speaks TLS; nil means that it does not.
	TLS *tls.Config
}

// Purge purges in the running weir.
func (c *Client) Purge(ctx context.Context, p Purge) (Purged, error) {
	var got Purged
	err := c.post(ctx, pathPurge, p, &got)
	return got, err
}

// Drain begins or ends the draining of a target and returns the target.
func (c *Client) Drain(ctx context.Context, upstream, target string, on bool) (t Target, err error) {
	err = c.post(ctx, pathDrain, map[string]any{"upstream": upstream, "target": target, "on": on}, &t)
	return t, err
}

// SetWeight changes the weight of a target, 0 for that of the configuration, and returns
// the target.
func (c *Client) SetWeight(ctx context.Context, upstream, target string, weight int) (t Target, err error) {
	err = c.post(ctx, pathWeight, map[string]any{"upstream": upstream, "target": target, "weight": weight}, &t)
	return t, err
}

// Status returns how the running weir is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.get(ctx, pathStatus, &s)
	return s, err
}

// Upstreams returns the upstreams of the running weir.
func (c *Client) Upstreams(ctx context.Context) ([]Upstream, error) {
	var got upstreams
	err := c.get(ctx, pathUpstreams, &got)
	return got.Upstreams, err
}

// Routes returns the routes of the running weir.
func (c *Client) Routes(ctx context.Context) ([]Route, error) {
	var got routes
	err := c.get(ctx, pathRoutes, &got)
	return got.Routes, err
}

// Config returns the configuration in force as text in a format, "json" or "toml": the
// keys that differ from their defaults, or all.
func (c *Client) Config(ctx context.Context, format string, all bool) ([]byte, error) {
	return c.call(ctx, http.MethodGet, fmt.Sprintf("%s?format=%s&all=%t", pathConfig, format, all), nil)
}

// Origins returns the keys of the configuration in force that differ from their defaults, or
// all, with what has set each.
func (c *Client) Origins(ctx context.Context, all bool) ([]config.Origin, error) {
	var got origins
	err := c.get(ctx, fmt.Sprintf("%s?format=origins&all=%t", pathConfig, all), &got)
	return got.Keys, err
}

// get reads the answer to a GET into out.
func (c *Client) get(ctx context.Context, path string, out any) error {
	text, err := c.call(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return c.read(text, out)
}

// post posts in and reads the answer into out.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		panic("BUG: cannot encode a request: " + err.Error())
	}
	text, err := c.call(ctx, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	return c.read(text, out)
}

func (c *Client) read(text []byte, out any) error {
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("cannot use the answer of %q: is that the admin API? %w", c.Address, err)
	}
	return nil
}

// call makes a request and returns the body of the answer, or what it says is wrong.
func (c *Client) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	response, err := c.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer response.Close()
	text, err := io.ReadAll(io.LimitReader(response, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of %q: %w", c.Address, err)
	}
	return text, nil
}

// open makes a request and returns the body of the answer, which the caller closes, or what it says
// is wrong.
func (c *Client) open(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	scheme := "http://"
	if c.TLS != nil {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(ctx, method, scheme+"localhost"+path, bytes.NewReader(body))
	if err != nil {
		panic("BUG: cannot make a request: " + err.Error())
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	network, address := c.Address.Split()
	// A transport of its own, without the proxies of the environment.
	transport := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: c.TLS,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the admin API at %q: %w", c.Address, err)
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusAccepted {
		return response.Body, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	var f failure
	if err != nil || json.Unmarshal(text, &f) != nil || f.Error == "" {
		return nil, fmt.Errorf("cannot use the answer of %q, which is %s: is that the admin API?", c.Address, response.Status)
	}
	return nil, fmt.Errorf("weir at %q refuses: %s", c.Address, f.Error)
}
