package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"weir/config"
)

// maxAnswer bounds what the client reads of an answer.
const maxAnswer = 1 << 20

// Client calls the API of a running weir.
type Client struct {
	// Address is where the API listens. A host that stands for all addresses of
	// a machine means this machine.
	Address config.Address
}

// Purge purges in the running weir and returns the number of purged entries.
func (c *Client) Purge(ctx context.Context, p Purge) (int, error) {
	var got purged
	if err := c.call(ctx, pathPurge, p, &got); err != nil {
		return 0, err
	}
	return got.Purged, nil
}

// call posts in and reads the answer into out.
func (c *Client) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		panic("BUG: cannot encode a request: " + err.Error())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		panic("BUG: cannot make a request: " + err.Error())
	}
	request.Header.Set("Content-Type", "application/json")
	network, address := c.Address.Split()
	// A transport of its own, without the proxies of the environment.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("cannot reach the admin API at %q: %w", c.Address, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %q: %w", c.Address, err)
	}
	if response.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(text, &f) != nil || f.Error == "" {
			return fmt.Errorf("cannot use the answer of %q, which is %s: is that the admin API?", c.Address, response.Status)
		}
		return fmt.Errorf("weir at %q refuses: %s", c.Address, f.Error)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("cannot use the answer of %q: is that the admin API? %w", c.Address, err)
	}
	return nil
}
