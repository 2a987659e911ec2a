package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Replay is a request that is to be sent again, as it was or changed.
type Replay struct {
	// ID names the recorded exchange; empty for a request that is all of Request.
	ID      string        `json:"id"`
	Request ReplayRequest `json:"request"`
	// Upstream takes the place of the route's, Server is the target of the upstream that is to get it. URL is a target
	// outside of the configuration. Empty means as the route says.
	Upstream string `json:"upstream"`
	Server   string `json:"server"`
	URL      string `json:"url"`
}

// ReplayRequest replaces parts of what was recorded. Empty means as it was.
type ReplayRequest struct {
	Method string `json:"method"`
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Target string `json:"target"`
	// Fields replace all fields but Host; nil keeps them.
	Fields [][2]string `json:"fields"`
	// Text or Base64 is the body; nil for both keeps it.
	Text   *string `json:"text"`
	Base64 *[]byte `json:"base64"`
}

// Replayed are the two answers of a replay.
type Replayed struct {
	// Original is the recorded exchange, nil without.
	Original *ExchangeDetail `json:"original"`
	Replayed *ExchangeDetail `json:"replayed"`
	// LeftOut are the names of fields that were masked, and so were not sent.
	LeftOut []string `json:"left_out"`
	Notes   []string `json:"notes"`
}

// ErrReplay is the error of a request that cannot be sent again as it was recorded.
type ErrReplay struct{ Reason string }

func (e ErrReplay) Error() string { return "cannot replay: " + e.Reason }

// framing are the fields that frame a message or belong to one connection, which the replay has of
// its own.
var framing = []string{
	"host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "trailer", "upgrade", "expect", "http2-settings",
}

// ofConnection are the names, in lower case, of those of these fields that belong to one connection. What a recorded
// request named in Connection does, too; what stands beside a field of that name which an operator gives was meant to be sent.
func ofConnection(fields [][2]string, recorded bool) []string {
	names := slices.Clone(framing)
	for _, f := range fields {
		switch {
		case recorded && strings.EqualFold(f[0], "connection"):
			for name := range strings.SplitSeq(strings.ToLower(f[1]), ",") {
				if name = strings.TrimSpace(name); name != "te" {
					names = append(names, name)
				}
			}
		case strings.EqualFold(f[0], "te") && !strings.EqualFold(f[1], "trailers"):
			names = append(names, "te")
		}
	}
	return names
}

// Over fills in what the request does not say by what was recorded, which may be nil, and returns the
// body, and the names of fields that were left out because they are masked.
func (q *ReplayRequest) Over(d *ExchangeDetail) (body []byte, leftOut []string, err error) {
	or := func(text *string, recorded string) {
		if *text == "" {
			*text = recorded
		}
	}
	if d == nil {
		d = &ExchangeDetail{Exchange: Exchange{Method: http.MethodGet, Scheme: "http"}, Request: new(Message)}
	}
	if d.Request == nil {
		return nil, nil, ErrReplay{"the request was not recorded"}
	}
	or(&q.Method, d.Method)
	or(&q.Scheme, d.Scheme)
	or(&q.Host, d.Host)
	or(&q.Target, d.Target)
	if q.Host == "" || q.Target == "" {
		return nil, nil, ErrReplay{"found no host or no target: want both"}
	}
	if strings.Contains(q.Target, "(hidden)") {
		return nil, nil, ErrReplay{"a part of the target is masked: give the whole target"}
	}
	decoded := false
	switch b := d.Request.Body; {
	case q.Text != nil:
		body = []byte(*q.Text)
	case q.Base64 != nil:
		body = *q.Base64
	case b == nil:
		if d.BytesIn > 0 {
			return nil, nil, ErrReplay{"the body was not recorded: give the body"}
		}
	case b.Truncated:
		return nil, nil, ErrReplay{"only the beginning of the body was recorded: give the whole body"}
	case b.Masked:
		return nil, nil, ErrReplay{"a part of the body is masked: give the whole body"}
	default:
		body, decoded = b.Bytes(), b.Decoded
	}
	given := q.Fields != nil
	if !given {
		q.Fields = d.Request.Fields
	}
	own := ofConnection(q.Fields, !given)
	q.Fields = slices.DeleteFunc(slices.Clone(q.Fields), func(f [2]string) bool {
		name := strings.ToLower(f[0])
		if slices.Contains(own, name) || decoded && name == "content-encoding" {
			return true
		}
		if strings.Contains(f[1], "(hidden)") {
			leftOut = append(leftOut, name)
			return true
		}
		return false
	})
	return body, leftOut, nil
}

func (a *api) replay(w http.ResponseWriter, r *http.Request) {
	inspector := a.recording(w)
	if inspector == nil {
		return
	}
	q, err := decodeReplay(r.Body)
	if err == nil && q.URL != "" {
		if u, parsed := url.Parse(q.URL); parsed != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || q.Upstream != "" || q.Server != "" {
			err = errors.New(`url: want "http://host:port" or "https://host:port", without upstream and server`)
		}
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	describe(r, "id", q.ID, "upstream", q.Upstream, "target", q.Server, "url", q.URL)
	var original *ExchangeDetail
	if q.ID != "" {
		if original = inspector.Detail(q.ID); original == nil {
			fail(w, http.StatusNotFound, errNoExchange)
			return
		}
	}
	done, err := a.weir.Replay(r.Context(), q, original)
	switch {
	case errors.As(err, new(ErrReplay)):
		fail(w, http.StatusConflict, err)
	case err != nil:
		fail(w, http.StatusBadRequest, err)
	default:
		answer(w, http.StatusOK, done)
	}
}

func decodeReplay(body io.Reader) (q Replay, err error) {
	d := json.NewDecoder(io.LimitReader(body, maxReplay))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		return q, errors.New("found a body that is no replay: " + strings.TrimPrefix(err.Error(), "json: "))
	}
	return q, nil
}

// maxReplay bounds the body of a replay, which has that of the request in it.
const maxReplay = 32 << 20

// Replay sends a request again through the running weir.
func (c *Client) Replay(ctx context.Context, q Replay) (done Replayed, err error) {
	err = c.post(ctx, pathReplay, q, &done)
	return done, err
}
