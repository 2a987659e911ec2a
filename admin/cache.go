package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// CacheEntry is an entry in the cache's memory as operators see it.
type CacheEntry struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Status int    `json:"status"`
	// Vary are the request fields that select the entry.
	Vary   []string `json:"vary,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Hits are the requests that it, and those that it replaced, answered.
	Hits uint64 `json:"hits"`
	// Memory is what it takes there, Length what its body has; -1 if that is not known.
	Memory  int64 `json:"memory_bytes"`
	Length  int64 `json:"body_bytes"`
	OnDisk  bool  `json:"on_disk,omitempty"`
	Partial bool  `json:"partial,omitempty"`
	// Age and TTL are in seconds; TTL is negative once the entry is stale.
	Age float64 `json:"age_seconds"`
	TTL float64 `json:"ttl_seconds"`
	// Next is what a plain request that selects the entry would come to: "hit", "stale" or
	// "revalidate"; Reason is why, as Cache-Status has it.
	Next   string `json:"next"`
	Reason string `json:"reason,omitempty"`
}

// CacheStats are the figures of the cache and of the routes that have one. Counts are since
// the start.
type CacheStats struct {
	// Entries and Bytes are what memory holds, Limit is its bound; Filling are the bytes of
	// bodies on their way into it.
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
	Limit   int64 `json:"limit_bytes"`
	Filling int64 `json:"filling_bytes"`
	// Evicted counts entries that had to make room for others.
	Evicted uint64 `json:"evicted"`
	// Outcomes counts exchanges by what the cache did; Reasons by why the origin was
	// asked, Unstored responses by why they were not stored: the names are those of
	// the metrics.
	Outcomes map[string]uint64 `json:"outcomes"`
	Reasons  map[string]uint64 `json:"reasons"`
	Unstored map[string]uint64 `json:"unstored"`
	Tiers    []CacheTier       `json:"tiers"`
}

// CacheTier is a tier behind the memory.
type CacheTier struct {
	Name string `json:"name"`
	// Up says that the tier works, as far as it was tried.
	Up     bool   `json:"up"`
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	Errors uint64 `json:"errors"`
	// Waiting is how many writes wait, Unannounced of how many purges and invalidations
	// the tier is still to be told.
	Waiting     int `json:"waiting"`
	Unannounced int `json:"unannounced"`
}

// CacheWhy is what the cache has for a URL.
type CacheWhy struct {
	URL string `json:"url"`
	// Next is what the next plain GET would come to: as in CacheEntry, of the newest entry; "miss"
	// without one, or "variant" if the fields in Vary decide.
	Next string `json:"next"`
	// Because says it in words.
	Because string       `json:"because"`
	Entries []CacheEntry `json:"entries"`
	// Uncacheable is for how many seconds an answer that could not be stored counts.
	Uncacheable float64 `json:"uncacheable_seconds,omitempty"`
	// Fetching counts the fetches under way.
	Fetching int `json:"fetching,omitempty"`
	// Tiers are those besides memory that have something for the URL.
	Tiers []string `json:"tiers,omitempty"`
}

// maxTop bounds the entries of one answer.
const maxTop = 1000

type top struct {
	Entries []CacheEntry `json:"entries"`
}

func (a *api) cacheStats(w http.ResponseWriter, _ *http.Request) {
	stats, err := a.weir.CacheStats()
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	answer(w, http.StatusOK, stats)
}

func (a *api) cacheTop(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	by, limit := "hits", 20
	var err error
	if q.Has("by") {
		if by = q.Get("by"); by != "hits" && by != "bytes" {
			err = fmt.Errorf(`by: found %q: want "hits" or "bytes"`, by)
		}
	}
	if text := q.Get("limit"); err == nil && text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxTop {
			err = fmt.Errorf("limit: found %q: want 1 to %d", text, maxTop)
		}
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	list, err := a.weir.CacheTop(by, limit)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	answer(w, http.StatusOK, top{list})
}

func (a *api) cacheWhy(w http.ResponseWriter, r *http.Request) {
	target := r.URL.Query().Get("url")
	if err := checkURL("url", target, "https://host/path?query"); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	why, err := a.weir.CacheWhy(target)
	if err != nil {
		fail(w, http.StatusNotFound, err)
		return
	}
	answer(w, http.StatusOK, why)
}

// CacheTop returns the first entries in the cache's memory of the running weir, by "hits" or
// "bytes".
func (c *Client) CacheTop(ctx context.Context, by string, limit int) ([]CacheEntry, error) {
	var got top
	err := c.get(ctx, fmt.Sprintf("%s?by=%s&limit=%d", pathCacheTop, url.QueryEscape(by), limit), &got)
	return got.Entries, err
}

// CacheWhy returns what the cache of the running weir has for a URL.
func (c *Client) CacheWhy(ctx context.Context, target string) (why CacheWhy, err error) {
	err = c.get(ctx, pathCacheWhy+"?url="+url.QueryEscape(target), &why)
	return why, err
}
