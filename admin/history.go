package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// History is how weir was, at equal intervals until now. All lists have the same length.
type History struct {
	// Interval is the time between two points, in seconds.
	Interval float64 `json:"interval_seconds"`
	// Time is when each point was taken, in Unix time. Rates are of the interval that ended
	// then.
	Time []float64 `json:"time"`
	// Requests, ClientErrors (4xx) and ServerErrors (those that failed, and not because of the client, as
	// weir_request_errors_total counts) are exchanges per second.
	Requests     []float64 `json:"requests"`
	ClientErrors []float64 `json:"client_errors"`
	ServerErrors []float64 `json:"server_errors"`
	// P50, P90 and P99 are of the durations of exchanges, in seconds; 0 without any.
	P50 []float64 `json:"p50"`
	P90 []float64 `json:"p90"`
	P99 []float64 `json:"p99"`
	// BytesIn and BytesOut are bytes of bodies per second, from and to clients.
	BytesIn  []float64 `json:"bytes_in"`
	BytesOut []float64 `json:"bytes_out"`
	// Running counts exchanges, Connections those of clients.
	Running     []float64 `json:"running"`
	Connections []float64 `json:"connections"`
	// CacheAsked and CacheHits are exchanges per second that asked a cache, and those that it
	// answered, stale answers included.
	CacheAsked []float64 `json:"cache_asked"`
	CacheHits  []float64 `json:"cache_hits"`
	// CPU is in cores, Memory in bytes.
	CPU    []float64 `json:"cpu"`
	Memory []float64 `json:"memory"`
}

// history answers with the points after ?since=, in Unix time; with all without it.
func (a *api) history(w http.ResponseWriter, r *http.Request) {
	var since float64
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = strconv.ParseFloat(text, 64); err != nil || !(since >= 0 && since < 1e10) {
			fail(w, http.StatusBadRequest, fmt.Errorf("since: found %q: want a Unix time in seconds", text))
			return
		}
	}
	answer(w, http.StatusOK, a.weir.History(time.UnixMicro(int64(since*1e6))))
}
