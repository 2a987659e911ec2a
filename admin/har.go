package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// HAR is an HTTP Archive of version 1.2.
type HAR struct {
	Log HARLog `json:"log"`
}

// HARLog is what an archive has.
type HARLog struct {
	Version string     `json:"version"`
	Creator HARName    `json:"creator"`
	Entries []HAREntry `json:"entries"`
}

// HARName names a program.
type HARName struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// HAREntry is an exchange. Times are milliseconds; -1 is not known.
type HAREntry struct {
	StartedDateTime time.Time   `json:"startedDateTime"`
	Time            float64     `json:"time"`
	Request         HARRequest  `json:"request"`
	Response        HARResponse `json:"response"`
	Cache           struct{}    `json:"cache"`
	Timings         HARTimings  `json:"timings"`
	ServerIPAddress string      `json:"serverIPAddress,omitempty"`
	Comment         string      `json:"comment,omitempty"`
	// Weir is what no field of HAR has room for; names that begin with "_" are for that.
	Weir *Exchange `json:"_weir,omitempty"`
}

// HARPair is a name and a value.
type HARPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// HARRequest is a request.
type HARRequest struct {
	Method      string    `json:"method"`
	URL         string    `json:"url"`
	HTTPVersion string    `json:"httpVersion"`
	Cookies     []HARPair `json:"cookies"`
	Headers     []HARPair `json:"headers"`
	QueryString []HARPair `json:"queryString"`
	PostData    *HARPost  `json:"postData,omitempty"`
	HeadersSize int       `json:"headersSize"`
	BodySize    int64     `json:"bodySize"`
}

// HARPost is the body of a request.
type HARPost struct {
	MimeType string    `json:"mimeType"`
	Params   []HARPair `json:"params"`
	Text     string    `json:"text"`
	// Encoding is "base64" for bodies that are no text; HAR has no such field for requests.
	Encoding string `json:"_encoding,omitempty"`
	Comment  string `json:"comment,omitempty"`
}

// HARResponse is a response.
type HARResponse struct {
	Status      int        `json:"status"`
	StatusText  string     `json:"statusText"`
	HTTPVersion string     `json:"httpVersion"`
	Cookies     []HARPair  `json:"cookies"`
	Headers     []HARPair  `json:"headers"`
	Content     HARContent `json:"content"`
	RedirectURL string     `json:"redirectURL"`
	HeadersSize int        `json:"headersSize"`
	BodySize    int64      `json:"bodySize"`
}

// HARContent is the body of a response.
type HARContent struct {
	Size     int64  `json:"size"`
	MimeType string `json:"mimeType"`
	Text     string `json:"text,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	Comment  string `json:"comment,omitempty"`
}

// HARTimings are the parts of an exchange's time.
type HARTimings struct {
	Blocked float64 `json:"blocked"`
	DNS     float64 `json:"dns"`
	Connect float64 `json:"connect"`
	Send    float64 `json:"send"`
	Wait    float64 `json:"wait"`
	Receive float64 `json:"receive"`
	SSL     float64 `json:"ssl"`
}

// ToHAR makes an archive of exchanges; version is that of weir.
func ToHAR(list []*ExchangeDetail, version string) *HAR {
	h := &HAR{Log: HARLog{Version: "1.2", Creator: HARName{"weir", version}, Entries: []HAREntry{}}}
	for _, d := range list {
		h.Log.Entries = append(h.Log.Entries, toEntry(d))
	}
	return h
}

func toEntry(d *ExchangeDetail) HAREntry {
	const ms = 1000
	summary := d.Exchange
	e := HAREntry{
		StartedDateTime: d.Time, Time: d.Timing.Total * ms, Weir: &summary,
		Timings: HARTimings{
			Blocked: d.Timing.Wait * ms, DNS: -1, Connect: d.Timing.Connect * ms, Send: d.Timing.Send * ms, Wait: d.Timing.FirstByte * ms, Receive: d.Timing.Body * ms, SSL: -1,
		},
		Request: HARRequest{
			Method: d.Method, URL: d.Scheme + "://" + d.Host + d.Target, HTTPVersion: d.Version, Cookies: []HARPair{}, Headers: []HARPair{}, QueryString: []HARPair{},
			HeadersSize: -1, BodySize: d.BytesIn,
		},
		Response: HARResponse{
			Status: d.Status, StatusText: http.StatusText(d.Status), HTTPVersion: d.Version, Cookies: []HARPair{}, Headers: []HARPair{}, HeadersSize: -1, BodySize: d.BytesOut,
		},
	}
	if !d.OK {
		e.Comment = strings.TrimSuffix(d.Cause+": "+d.Error, ": ")
	}
	if _, query, ok := strings.Cut(d.Target, "?"); ok {
		for pair := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(pair, "=")
			e.Request.QueryString = append(e.Request.QueryString, HARPair{unescaped(name), unescaped(value)})
		}
	}
	if m := d.Request; m != nil {
		e.Request.Headers = toPairs(m.Fields)
		if b := m.Body; b != nil {
			e.Request.PostData = &HARPost{MimeType: b.Type, Params: []HARPair{}, Comment: cut(b)}
			e.Request.PostData.Text, e.Request.PostData.Encoding = harText(b)
		}
	}
	if m := d.Response; m != nil {
		e.Response.Headers = toPairs(m.Fields)
		for _, f := range m.Fields {
			if strings.EqualFold(f[0], "Location") {
				e.Response.RedirectURL = f[1]
			}
		}
		e.Response.Content.MimeType = d.Type
		if b := m.Body; b != nil {
			e.Response.Content = HARContent{Size: int64(len(b.Bytes())), MimeType: b.Type, Comment: cut(b)}
			e.Response.Content.Text, e.Response.Content.Encoding = harText(b)
		}
	}
	return e
}

func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

func toPairs(fields [][2]string) []HARPair {
	list := make([]HARPair, len(fields))
	for i, f := range fields {
		list[i] = HARPair{f[0], f[1]}
	}
	return list
}

// cut says how long b was if the end of b was not kept; empty if all of b is there.
func cut(b *Body) string {
	if b.Truncated {
		return fmt.Sprintf("cut: %d bytes passed", b.Size)
	}
	return ""
}

func harText(b *Body) (text, encoding string) {
	if len(b.Base64) > 0 {
		return base64.StdEncoding.EncodeToString(b.Base64), "base64"
	}
	return b.Text, ""
}

// FromHAR reads an archive. skipped counts entries that are no exchanges of HTTP.
func FromHAR(text []byte) (list []*ExchangeDetail, skipped int, err error) {
	var h HAR
	if err := json.Unmarshal(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), &h); err != nil {
		return nil, 0, fmt.Errorf("cannot read the archive: %w", err)
	}
	if h.Log.Version == "" || h.Log.Entries == nil {
		return nil, 0, errors.New(`found JSON that is no HAR: want {"log": {"version": "1.2", "entries": [...]}}`)
	}
	for i := range h.Log.Entries {
		if d := fromEntry(&h.Log.Entries[i]); d != nil {
			list = append(list, d)
		} else {
			skipped++
		}
	}
	return list, skipped, nil
}

func fromEntry(e *HAREntry) *ExchangeDetail {
	u, err := url.Parse(e.Request.URL)
	if err != nil || u.Host == "" || e.Request.Method == "" || strings.ContainsAny(e.Request.Method, " \r\n") {
		return nil
	}
	d := new(ExchangeDetail)
	if e.Weir != nil {
		d.Exchange = *e.Weir
	}
	d.Time, d.Method, d.Scheme, d.Host, d.Target = e.StartedDateTime, e.Request.Method, u.Scheme, u.Host, u.RequestURI()
	d.Version, d.Status, d.Type, d.Duration = e.Request.HTTPVersion, e.Response.Status, e.Response.Content.MimeType, e.Time/1000
	d.BytesIn, d.BytesOut, d.Complete = max(e.Request.BodySize, 0), max(e.Response.BodySize, 0), true
	if e.Weir == nil {
		d.Cause, d.OK, d.Error = "ok", e.Response.Status > 0 && e.Response.Status < 500, e.Comment
	}
	seconds := func(ms float64) float64 { return max(ms, 0) / 1000 }
	t := e.Timings
	d.Timing = Timing{Wait: seconds(t.Blocked) + seconds(t.DNS), Connect: seconds(t.Connect), Send: seconds(t.Send), FirstByte: seconds(t.Wait), Body: seconds(t.Receive), Total: seconds(e.Time)}
	version := e.Request.HTTPVersion
	if version == "" {
		version = "HTTP/1.1"
	}
	d.Request = &Message{Line: d.Method + " " + d.Target + " " + version, Fields: fromPairs(e.Request.Headers)}
	if p := e.Request.PostData; p != nil {
		d.Request.Body = harBody(p.Text, p.Encoding, p.MimeType, p.Comment)
	}
	if e.Response.Status > 0 {
		d.Response = &Message{Line: fmt.Sprint(version, " ", e.Response.Status, " ", e.Response.StatusText), Fields: fromPairs(e.Response.Headers)}
		d.Response.Body = harBody(e.Response.Content.Text, e.Response.Content.Encoding, e.Response.Content.MimeType, e.Response.Content.Comment)
	}
	return d
}

func fromPairs(list []HARPair) [][2]string {
	fields := make([][2]string, 0, len(list))
	for _, p := range list {
		if !strings.HasPrefix(p.Name, ":") { // of HTTP/2, which browsers write too
			fields = append(fields, [2]string{p.Name, p.Value})
		}
	}
	return fields
}

func harBody(text, encoding, kind, comment string) *Body {
	if text == "" {
		return nil
	}
	raw := []byte(text)
	if encoding == "base64" {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			raw = decoded
		}
	}
	b := &Body{Size: int64(len(raw)), Kept: len(raw), Type: kind, Decoded: true, Truncated: strings.HasPrefix(comment, "cut: ")}
	if utf8.Valid(raw) {
		b.Text = string(raw)
	} else {
		b.Base64 = raw
	}
	return b
}

// maxHAR bounds the archives that are imported.
const maxHAR = 32 << 20

func (a *api) exportHAR(w http.ResponseWriter, r *http.Request) {
	inspector := a.recording(w)
	if inspector == nil {
		return
	}
	p := parametersOf(r, "filter", "ring", "limit", "ids")
	q, err := p.query(), p.err
	var list []*ExchangeDetail
	if err == nil {
		list, err = inspector.Details(q)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="weir.har"`)
	answer(w, http.StatusOK, ToHAR(list, a.weir.Status().Version))
}

func (a *api) importHAR(w http.ResponseWriter, r *http.Request) {
	inspector := a.recording(w)
	if inspector == nil {
		return
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxHAR+1))
	if err == nil && len(text) > maxHAR {
		err = fmt.Errorf("found an archive of more than %d bytes: want fewer", maxHAR)
	}
	var list []*ExchangeDetail
	skipped := 0
	if err == nil {
		list, skipped, err = FromHAR(text)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	ids := inspector.Import(list)
	describe(r, "imported", len(ids))
	if ids == nil {
		ids = []string{}
	}
	answer(w, http.StatusOK, imported{len(ids), skipped + len(list) - len(ids), ids})
}

type imported struct {
	Imported int      `json:"imported"`
	Skipped  int      `json:"skipped"`
	IDs      []string `json:"ids"`
}
