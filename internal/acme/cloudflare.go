package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// cloudflareAPI is where Cloudflare's API is, version 4.
const cloudflareAPI = "https://api.cloudflare.com/client/v4"

// cloudflare makes changes by Cloudflare's API.
type cloudflare struct{ token, api string }

// cloudflareItem is a zone or a record.
type cloudflareItem struct {
	ID string `json:"id"`
}

func (c *cloudflare) change(ctx context.Context, set bool, zone, name, value string) error {
	zone, name = strings.TrimSuffix(zone, "."), strings.TrimSuffix(name, ".")
	found, err := c.list(ctx, "/zones?name="+url.QueryEscape(zone))
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("cloudflare has no zone %q that the token may change", zone)
	}
	records := "/zones/" + found[0].ID + "/dns_records"
	if set {
		return c.call(ctx, http.MethodPost, records, map[string]any{"type": "TXT", "name": name, "content": `"` + value + `"`, "ttl": int(recordTTL.Seconds())}, nil)
	}
	found, err = c.list(ctx, records+"?type=TXT&name="+url.QueryEscape(name)+"&content.contains="+url.QueryEscape(value))
	for _, record := range found {
		if err := c.call(ctx, http.MethodDelete, records+"/"+record.ID, nil, nil); err != nil {
			return err
		}
	}
	return err
}

func (c *cloudflare) list(ctx context.Context, path string) (found []cloudflareItem, err error) {
	err = c.call(ctx, http.MethodGet, path, nil, &found)
	return found, err
}

// call sends a request and decodes its result into to, if that is not nil.
func (c *cloudflare) call(ctx context.Context, method, path string, body, to any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.api+path, &text)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("cannot ask cloudflare: %w", err)
	}
	defer response.Body.Close()
	var answer struct {
		Success bool            `json:"success"`
		Result  json.RawMessage `json:"result"`
		Errors  []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("cannot read what cloudflare answers (status %d): %w", response.StatusCode, err)
	}
	if !answer.Success {
		why := "status " + response.Status
		if len(answer.Errors) > 0 {
			why = answer.Errors[0].Message
		}
		return fmt.Errorf("cloudflare refuses the change: %s", why)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, to)
}
