package config

import (
	"strconv"
	"strings"
	"time"
)

// Cache is about the tiers where entries live. A route's responses are cached
// only if the route says so.
type Cache struct {
	// Size bounds the near tier (memory), overhead included. weir run makes a size that
	// the file does not have at most half of the memory limit of the control group.
	Size Size `toml:"size"`
	// MaxObject bounds the body of one entry in memory; larger responses are
	// stored on disk, or are passed through.
	MaxObject Size `toml:"max_object"`
	// Policy says which entry is removed from a full near tier: one of the names
	// that cache.Policies lists.
	Policy string `toml:"policy"`
	// PurgeFrom are the client addresses whose PURGE requests purge entries, on
	// routes with a cache. Empty means that PURGE is a method like any other, and so are
	// all others with PURGE or BAN in their names.
	PurgeFrom []Prefix `toml:"purge_from"`
	// Persist keeps entries on disk over a restart.
	Persist CachePersist `toml:"persist"`
	// Far is a tier that many weirs share.
	Far CacheFar `toml:"far"`
}

// CachePersist keeps entries on disk, so that a restart does not lose them.
type CachePersist struct {
	// Folder holds the files; empty means off. One weir uses it at a time.
	Folder string `toml:"folder"`
	// Size bounds the files together.
	Size Size `toml:"size"`
	// MaxObject bounds a body that is too large for memory and is streamed to
	// and from the folder; a quarter of Size bounds it too. 0 means that only
	// bodies that fit into memory are stored.
	MaxObject Size `toml:"max_object"`
}

// CacheFar is a tier that many weirs share: Redis or Valkey.
type CacheFar struct {
	// URL is "redis://host:port/db", "rediss://..." for TLS, several hosts
	// separated by commas for a cluster, or for sentinels; empty means off. It may contain a user
	// and a password.
	URL string `toml:"url"`
	// CA is a PEM file of the authorities to trust, with TLS; empty means the
	// system's.
	CA string `toml:"ca"`
	// Cert and Key are PEM files with the certificate by which weir proves who it is, and its
	// key; empty means none.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
	// Sentinel is the name of the master that the hosts of URL watch as sentinels; empty
	// means that they are servers themselves.
	Sentinel string `toml:"sentinel"`
	// SentinelPassword is the password of the sentinels, if they have one.
	SentinelPassword string `toml:"sentinel_password" secret:"true"`
	// Prefix starts every key.
	Prefix string `toml:"prefix"`
	// Timeout bounds one look-up; a slower tier counts as a miss.
	Timeout Duration `toml:"timeout"`
	// Queue bounds the writes that wait; more are dropped and counted.
	Queue int `toml:"queue"`
	// Compress is the smallest size of a body that is compressed; 0 means never.
	Compress Size `toml:"compress"`
	// Failures in a row open the circuit, and Cooldown is how long it stays open.
	Failures int      `toml:"failures"`
	Cooldown Duration `toml:"cooldown"`
}

// RouteCache is a route's cache policy. In the file it is a boolean or a
// table; a table means true. The zero value is off, and so is a nil pointer.
type RouteCache struct {
	// Enabled is what "cache = true" or a table says.
	Enabled bool `toml:"enabled"`

	// Targeted are the response fields that replace Cache-Control and Expires
	// if present and valid (RFC 9213), first match wins.
	Targeted []string `toml:"targeted"`

	// DefaultTTL is the lifetime of a response that says nothing about its
	// freshness; 0 means that there is no such default.
	DefaultTTL Duration `toml:"default_ttl"`
	// ForcedTTL is the lifetime of every response whose status allows storing
	// it, even if the origin says another one; it never overrules no-store or
	// private. 0 means off.
	ForcedTTL Duration `toml:"forced_ttl"`
	// NegativeTTL is the lifetime of a 404, 405, 410, 414 or 501 that says
	// nothing about its freshness; 0 means that DefaultTTL is used.
	NegativeTTL Duration `toml:"negative_ttl"`
	// Heuristic is for how much of the time since its Last-Modified such a
	// response is fresh, in percent (RFC 9111 section 4.2.2); 0 means off.
	// HeuristicMax bounds the result.
	Heuristic    int      `toml:"heuristic"`
	HeuristicMax Duration `toml:"heuristic_max"`

	// StaleWhileRevalidate and StaleIfError (RFC 5861) are the values for
	// responses that do not have these directives.
	StaleWhileRevalidate Duration `toml:"stale_while_revalidate"`
	StaleIfError         Duration `toml:"stale_if_error"`
	// StaleOnDisconnect is how long after its lifetime an entry may still be
	// sent when no target could be reached or no target answered (RFC 9111
	// section 4.2.4); 0 means never.
	StaleOnDisconnect Duration `toml:"stale_on_disconnect"`

	// RequestDirectives follows the Cache-Control and Pragma fields of clients
	// (RFC 9111 section 5.2.1). Clients can then make weir ask the origin.
	RequestDirectives bool `toml:"request_directives"`
	// SetCookie says when a response with Set-Cookie is stored, cookie included:
	// "never", "shared" (only if it says public, s-maxage or has a targeted field)
	// or "always" (as RFC 9111 section 7.3 allows). With the last two one client
	// can get a cookie that was made for another.
	SetCookie string `toml:"set_cookie"`
	// SortLanguages treats "en, de" and "de, en" as the same Accept-Language.
	// That is right only for origins that ignore the order.
	SortLanguages bool `toml:"sort_languages"`
	// FoldEncodings makes one form of all spellings of Accept-Encoding that mean the
	// same to origins, for the choice among variants and for what targets get:
	// of "gzip", "br", "zstd", "dcb" and "dcz" those that the client accepts, else "identity".
	FoldEncodings bool `toml:"fold_encodings"`
	// IgnoreVary are request fields that do not select among stored responses
	// although their Vary names them. What the origin makes of such a field for one
	// client, others get.
	IgnoreVary []string `toml:"ignore_vary"`
	// NoVarySearch makes what the No-Vary-Search field of a response leaves out of the
	// query not count: one stored response answers all such URLs of its path.
	NoVarySearch bool `toml:"no_vary_search"`
	// SurrogateKeys are the response fields whose words name groups to purge.
	SurrogateKeys []string `toml:"surrogate_keys"`

	// Status sends the Cache-Status field (RFC 9211).
	Status bool `toml:"status"`

	// Fill is what a fetch without an entry to validate leaves out of the client's
	// request so that the answer can be stored: "asked" (nothing), "condition"
	// (If-None-Match and If-Modified-Since) or "whole" (also a Range of
	// "bytes=0-"). The client gets what it asked for all the same.
	Fill string `toml:"fill"`
	// StoreUntilClose stores bodies that end when the connection does. Such a body
	// that was cut off looks whole unless the connection was reset.
	StoreUntilClose bool `toml:"store_until_close"`

	// QueryBody is the largest content of a QUERY (RFC 10008) that is read whole, so that
	// the answer can be stored and used for QUERYs with the same content; 0 means that
	// QUERY is forwarded without asking the cache.
	QueryBody Size `toml:"query_body"`
	// Finish is how many bytes of a body may be missing for a fetch that no client waits
	// for any more to go on, so that what it brings is stored; of a body whose length is
	// not known, how many more are taken. 0 ends such a fetch at once. Before the
	// response's head is in nothing is known to be missing.
	Finish Size `toml:"finish"`

	// Collapse lets one fetch answer all exchanges that wait for the same key.
	Collapse bool `toml:"collapse"`
	// Wait is how long an exchange waits for the head of another exchange's
	// fetch, and for a body of unknown length that only memory can take, before it
	// asks the origin itself.
	Wait Duration `toml:"wait"`
	// Uncacheable is for how long requests for a key do not wait for each other
	// after a response that may not be stored, or one that took longer than Wait.
	// Each further such response begins that time anew.
	Uncacheable Duration `toml:"uncacheable"`

	// Key is what makes two requests the same.
	Key CacheKey `toml:"key"`
	// Bypass names requests that neither use nor fill the cache.
	Bypass CacheBypass `toml:"bypass"`
}

// CacheKey are the rules of a route's keys. The key always holds the scheme,
// the host and the target as the client wrote it.
type CacheKey struct {
	// IgnoreQuery are query parameters that are not part of the key; "*" means
	// all, "utm_*" all with that start.
	IgnoreQuery []string `toml:"ignore_query"`
	// KeepQuery are the only query parameters that are; empty means all.
	KeepQuery []string `toml:"keep_query"`
	// SortQuery puts parameters in order.
	SortQuery bool `toml:"sort_query"`
	// IgnoreCase treats upper and lower case letters of the path as the same.
	IgnoreCase bool `toml:"ignore_case"`
	// Headers and Cookies of the request are added to the key.
	Headers []string `toml:"headers"`
	Cookies []string `toml:"cookies"`
}

// CacheBypass names requests that neither use nor fill the cache.
type CacheBypass struct {
	// Cookies, Headers and Query hold names. A request that has one of them is
	// enough. A name may end in "*".
	Cookies []string `toml:"cookies"`
	Headers []string `toml:"headers"`
	Query   []string `toml:"query"`
}

func (c *Cache) setDefaults() {
	c.Size = 256 << 20
	c.MaxObject = 8 << 20
	c.Policy = "tinylfu"
}

func (c *CachePersist) setDefaults() {
	c.Size = 1 << 30
	c.MaxObject = 1 << 30
}

func (c *CacheFar) setDefaults() {
	*c = CacheFar{
		Prefix:   "weir:",
		Timeout:  Duration(20 * time.Millisecond),
		Queue:    4096,
		Compress: 1 << 10,
		Failures: 5,
		Cooldown: Duration(5 * time.Second),
	}
}

func (c *CacheFar) validate(at keyPath) {
	scheme, _, _ := strings.Cut(c.URL, "://")
	secure := c.URL == "" || scheme == "rediss" || scheme == "valkeys"
	for _, f := range []struct{ key, path string }{{"ca", c.CA}, {"cert", c.Cert}, {"key", c.Key}} {
		switch {
		case f.path == "":
		case !secure:
			at.wrong(f.key, strconv.Quote(f.path), `nothing, or a url that starts with "rediss://"`)
		default:
			at.file(f.key, f.path)
		}
	}
	switch {
	case c.Cert != "" && c.Key == "":
		at.wrong("key", `""`, "the file with the key of cert")
	case c.Cert == "" && c.Key != "":
		at.wrong("cert", `""`, "the file with the certificate of key")
	}
}

// DefaultRouteCache returns what "cache = true" means. The caller owns it.
func DefaultRouteCache() *RouteCache { return fresh[RouteCache]() }

func (r *RouteCache) setDefaults() {
	*r = RouteCache{
		Enabled:           true,
		Targeted:          []string{"Weir-Cache-Control", "CDN-Cache-Control"},
		Heuristic:         10,
		HeuristicMax:      Duration(24 * time.Hour),
		StaleOnDisconnect: Duration(time.Minute),
		RequestDirectives: true,
		SetCookie:         "never",
		Fill:              "whole",
		FoldEncodings:     true,
		QueryBody:         64 << 10,
		Finish:            1 << 20,
		SurrogateKeys:     []string{"Surrogate-Key", "Cache-Tag", "Cache-Tags", "xkey", "X-Cache-Tags", "X-Magento-Tags"},
		Status:            true,
		Collapse:          true,
		NoVarySearch:      true,
		Wait:              Duration(10 * time.Second),
		Uncacheable:       Duration(2 * time.Minute),
	}
}

func (r *RouteCache) short() any { return &r.Enabled }
