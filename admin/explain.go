package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"weir/config"
)

// Question is a request that is to be explained.
type Question struct {
	// Method is the request's; empty means GET.
	Method string
	// URL has scheme, host and path, perhaps a query.
	URL string
	// Fields are lines of the request's head besides Host: "Name: value".
	Fields []string
	// From is the address that the client connects from; empty means 127.0.0.1.
	From string
	// Listener is the label of the listener; empty means one that fits the URL's scheme.
	Listener string
	// Answer are lines of the head of the response that the target is assumed to give.
	Answer []string
	// ClientCert is the certificate of the client in PEM, which is taken for a good one; empty means none.
	ClientCert string
}

// questionKeys are the parameters of a question in the API's query, of which those of fields may stand there
// several times.
var questionKeys = []string{"method", "url", "header", "from", "listener", "answer", "client_cert"}

func (q *Question) query() string {
	v := url.Values{"url": {q.URL}, "header": q.Fields, "answer": q.Answer}
	for key, value := range map[string]string{"method": q.Method, "from": q.From, "listener": q.Listener, "client_cert": q.ClientCert} {
		if value != "" {
			v.Set(key, value)
		}
	}
	return v.Encode()
}

func (a *api) explain(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	for key := range v {
		if !slices.Contains(questionKeys, key) {
			fail(w, http.StatusBadRequest, fmt.Errorf("found parameter %q: want %s", key, config.OneOf(questionKeys)))
			return
		}
	}
	e, err := a.weir.Explain(Question{
		Method: v.Get("method"), URL: v.Get("url"), Fields: v["header"], From: v.Get("from"), Listener: v.Get("listener"), Answer: v["answer"],
		ClientCert: v.Get("client_cert"),
	})
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	answer(w, http.StatusOK, e)
}

// Explain returns what the running weir would do with a request, as JSON.
func (c *Client) Explain(ctx context.Context, q Question) (e json.RawMessage, err error) {
	err = c.get(ctx, pathExplain+"?"+q.query(), &e)
	return e, err
}

func (a *api) plan(w http.ResponseWriter, r *http.Request) {
	p, err := a.weir.Plan()
	if err != nil {
		fail(w, http.StatusConflict, err)
		return
	}
	answer(w, http.StatusOK, p)
}

// Plan returns what a reload of the running weir would do now, as JSON.
func (c *Client) Plan(ctx context.Context) (p json.RawMessage, err error) {
	err = c.get(ctx, pathPlan, &p)
	return p, err
}
