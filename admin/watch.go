package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
)

// maxEvent bounds one event of a stream.
const maxEvent = 64 << 20

// Watch calls each with the exchanges that the running weir records and that fit a filter, with all
// that is kept of them, and how many were dropped since the last call, until ctx ends or each
// returns false.
func (c *Client) Watch(ctx context.Context, filter string, each func(list []*ExchangeDetail, dropped int) bool) error {
	stream, err := c.open(ctx, "GET", pathStream+"?bodies=true&filter="+url.QueryEscape(filter), nil)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEvent)
	event := ""
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "event":
			event = string(value)
		case "data":
			if event != "exchanges" {
				continue
			}
			var news struct {
				Exchanges []*ExchangeDetail `json:"exchanges"`
				Dropped   int               `json:"dropped"`
			}
			if err := json.Unmarshal(value, &news); err != nil {
				return fmt.Errorf("cannot use the answer of %q: is that the admin API? %w", c.Address, err)
			}
			if !each(news.Exchanges, news.Dropped) {
				return nil
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the stream of %q: %w", c.Address, err)
	}
	return fmt.Errorf("weir at %q has ended the stream", c.Address)
}
