package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"weir/config"
)

// Statistics are what a weir has counted of its exchanges.
type Statistics struct {
	// Recent is over how many seconds the figures of late go.
	Recent float64           `json:"recent_seconds"`
	Routes []RouteStatistics `json:"routes"`
	// Objectives are how the objectives of the configuration are met.
	Objectives []ObjectiveState `json:"objectives,omitempty"`
}

// ObjectiveState is how an objective is met.
type ObjectiveState struct {
	Name string `json:"name"`
	// Percent is how many of 100 exchanges should go well, Below how many seconds they may take, 0 for any
	// number.
	Percent float64 `json:"percent"`
	Below   float64 `json:"below_seconds"`
	// Good, Slow and Failed count exchanges.
	Good   uint64 `json:"good"`
	Slow   uint64 `json:"slow"`
	Failed uint64 `json:"failed"`
	Burn   []Burn `json:"burn"`
}

// Burn is how fast an objective's budget is used up over a window, such as "5m": 1 is just as fast as
// allowed.
type Burn struct {
	Window string  `json:"window"`
	Rate   float64 `json:"rate"`
}

// RouteStatistics are those of a route.
type RouteStatistics struct {
	// Route is its label; empty for exchanges that no route took.
	Route string `json:"route"`
	Figures
	// Late are the figures of late.
	Late Figures `json:"recent"`
	// Paths are those of its path templates, in the order that was asked for.
	Paths []PathStatistics `json:"paths"`
	// Slowest are the slowest exchanges of late, the slowest first.
	Slowest []SlowExchange `json:"slowest"`
}

// PathStatistics are those of a path template.
type PathStatistics struct {
	// Path is the template; "other" stands for all exchanges without one.
	Path string `json:"path"`
	Figures
	// Late are the figures of late.
	Late Figures `json:"recent"`
}

// Figures are what was counted of some exchanges. Quantiles are estimates, 14 % too much or too little
// at most. Times of upgraded connections are not in them.
type Figures struct {
	Count    uint64 `json:"count"`
	Errors   uint64 `json:"errors"`
	BytesIn  int64  `json:"bytes_in"`
	BytesOut int64  `json:"bytes_out"`
	// Total is the sum of all times, in seconds like the others.
	Total float64 `json:"total_seconds"`
	Mean  float64 `json:"mean_seconds"`
	P50   float64 `json:"p50_seconds"`
	P90   float64 `json:"p90_seconds"`
	P99   float64 `json:"p99_seconds"`
	// Max is the longest time since weir has counted; 0 in figures of late.
	Max float64 `json:"max_seconds,omitempty"`
	// Phases are the mean times of the phases, which are together Mean.
	Phases Phases `json:"phases"`
}

// Phases are the times of the phases of an exchange, or of the mean one, in seconds.
type Phases struct {
	Waiting    float64 `json:"waiting_seconds"`
	Connecting float64 `json:"connecting_seconds"`
	FirstByte  float64 `json:"first_byte_seconds"`
	Body       float64 `json:"body_seconds"`
}

// SlowExchange is an exchange that was slow.
type SlowExchange struct {
	// Path is its template; Requested is the path that the client asked for, without the query.
	Path      string    `json:"path"`
	Method    string    `json:"method"`
	Requested string    `json:"requested"`
	RequestID string    `json:"request_id"`
	Start     time.Time `json:"start"`
	Duration  float64   `json:"seconds"`
	Phases    Phases    `json:"phases"`
	Status    int       `json:"status"`
	// Cause is why it ended as it did, Target the last one that was asked.
	Cause  string `json:"cause"`
	Target string `json:"target,omitempty"`
}

// StatisticsQuery says which statistics are wanted.
type StatisticsQuery struct {
	// Route is the label of the only route; nil means all.
	Route *string
	// By is the order of paths, the largest first: one of StatisticsOrders. It is that of the figures
	// of late if Late is set.
	By   string
	Late bool
	// Limit bounds the paths and the slowest exchanges of each route; 0 is no bound.
	Limit int
}

// statisticsOrders are the orders of paths, with what they compare.
var statisticsOrders = []struct {
	name string
	of   func(f *Figures) float64
}{
	{"count", func(f *Figures) float64 { return float64(f.Count) }},
	{"errors", func(f *Figures) float64 { return float64(f.Errors) }},
	{"time", func(f *Figures) float64 { return f.Total }},
	{"p99", func(f *Figures) float64 { return f.P99 }},
	{"bytes", func(f *Figures) float64 { return float64(f.BytesIn + f.BytesOut) }},
}

// StatisticsOrders are the orders in which paths may be asked for.
func StatisticsOrders() (names []string) {
	for _, o := range statisticsOrders {
		names = append(names, o.name)
	}
	return names
}

// apply puts s in the order and into the bounds of q.
func (q *StatisticsQuery) apply(s *Statistics) {
	i := slices.Index(StatisticsOrders(), q.By)
	of := func(p *PathStatistics) float64 {
		if q.Late {
			return statisticsOrders[i].of(&p.Late)
		}
		return statisticsOrders[i].of(&p.Figures)
	}
	for r := range s.Routes {
		route := &s.Routes[r]
		slices.SortStableFunc(route.Paths, func(a, b PathStatistics) int { return cmp.Compare(of(&b), of(&a)) })
		if q.Limit > 0 {
			route.Paths = route.Paths[:min(q.Limit, len(route.Paths))]
			route.Slowest = route.Slowest[:min(q.Limit, len(route.Slowest))]
		}
	}
}

// maxStatistics bounds the paths of one route in an answer, unless all are asked for.
const maxStatistics = 10_000

func (a *api) statistics(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	q := StatisticsQuery{By: "count", Limit: 20}
	var err error
	if query.Has("route") {
		name := query.Get("route")
		q.Route = &name
	}
	if query.Has("by") {
		if q.By = query.Get("by"); !slices.Contains(StatisticsOrders(), q.By) {
			err = fmt.Errorf("by: found %q: want %s", q.By, config.OneOf(StatisticsOrders()))
		}
	}
	if text := query.Get("order"); text != "" && text != "total" && text != "recent" {
		err = fmt.Errorf(`order: found %q: want "total" or "recent"`, text)
	} else {
		q.Late = text == "recent"
	}
	if text := query.Get("limit"); err == nil && text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 0 || q.Limit > maxStatistics {
			err = fmt.Errorf("limit: found %q: want 1 to %d, or 0 for all", text, maxStatistics)
		}
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	s, err := a.weir.Statistics(q.Route)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	q.apply(&s)
	answer(w, http.StatusOK, s)
}

// Statistics returns what the running weir has counted.
func (c *Client) Statistics(ctx context.Context, q StatisticsQuery) (s Statistics, err error) {
	path := fmt.Sprintf("%s?by=%s&limit=%d", pathStatistics, url.QueryEscape(q.By), q.Limit)
	if q.Late {
		path += "&order=recent"
	}
	if q.Route != nil {
		path += "&route=" + url.QueryEscape(*q.Route)
	}
	err = c.get(ctx, path, &s)
	return s, err
}
