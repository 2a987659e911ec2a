package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v3"
	"golang.org/x/net/http/httpguts"

	generator "weir/bench/load"
)

// The flags of weir bench.
const (
	flagConnections = "connections"
	flagDuration    = "duration"
	flagRequests    = "requests"
	flagRate        = "rate"
	flagMethod      = "method"
	flagHeader      = "header"
	flagBody        = "body"
	flagHTTP2       = "http2"
	flagStreams     = "streams"
	flagInsecure    = "insecure"
	flagTimeout     = "timeout"
	flagFresh       = "disable-keepalive"
)

func benchCommand() *urfave.Command {
	return withArguments(bench, &urfave.Command{
		Name:      "bench",
		Usage:     "send load to a server and show rate, successes and latency; Ctrl-C ends it early",
		ArgsUsage: "URL [URL...]",
		UsageText: "weir bench http://127.0.0.1:8080/\nweir bench -c 100 -r 2000 -d 1m https://localhost:8443/a https://localhost:8443/b",
		Flags: []urfave.Flag{
			&urfave.IntFlag{Name: flagConnections, Aliases: []string{"c"}, Value: 50, Usage: "keep `N` connections"},
			&urfave.DurationFlag{Name: flagDuration, Aliases: []string{"d"}, Value: 10 * time.Second, Usage: "start requests for this `TIME`"},
			&urfave.Int64Flag{Name: flagRequests, Aliases: []string{"n"}, Usage: "start `N` requests; with --duration what ends first counts"},
			&urfave.FloatFlag{Name: flagRate, Aliases: []string{"r"}, Usage: "start `N` requests per second, whatever the answers do; without it each connection sends its next request after the last answer"},
			&urfave.StringFlag{Name: flagMethod, Aliases: []string{"X"}, Usage: "the request `METHOD`; without it GET, or POST where there is a body"},
			&urfave.StringSliceFlag{Name: flagHeader, Aliases: []string{"H"}, Usage: "a header `FIELD`, as \"Name: value\"; may be repeated"},
			&urfave.StringFlag{Name: flagBody, Aliases: []string{"b"}, Usage: "the `TEXT` of the request body, or @FILE"},
			&urfave.BoolFlag{Name: flagHTTP2, Usage: "speak HTTP/2: by ALPN to https, by prior knowledge (h2c) to http"},
			&urfave.IntFlag{Name: flagStreams, Aliases: []string{"m"}, Value: 1, Usage: "with --http2, have `N` requests on each connection at once"},
			&urfave.BoolFlag{Name: flagFresh, Usage: "make a connection for each request, whose time counts as latency"},
			&urfave.BoolFlag{Name: flagInsecure, Aliases: []string{"k"}, Usage: "accept any certificate"},
			&urfave.DurationFlag{Name: flagTimeout, Aliases: []string{"t"}, Value: 10 * time.Second, Usage: "the `TIME` that a connect and an answer may take"},
			&urfave.BoolFlag{Name: flagJSON, Usage: "print JSON, with one interval for each second"},
		},
		DisableSliceFlagSeparator: true, // a field may hold commas
	}, func(c *urfave.Command) error {
		if !c.Args().Present() {
			return usage("weir bench takes a URL, or several of one server, after the flags; see weir bench --help")
		}
		for _, name := range [...]string{flagConnections, flagStreams} {
			if n := c.Int(name); n < 1 {
				return usage("--%s: found %d: want at least 1", name, n)
			}
		}
		for _, name := range [...]string{flagDuration, flagTimeout} {
			if d := c.Duration(name); d <= 0 {
				return usage("--%s: found %s: want more than 0", name, d)
			}
		}
		if c.Int64(flagRequests) < 0 || c.Float(flagRate) < 0 {
			return usage("--%s and --%s must not be negative", flagRequests, flagRate)
		}
		if c.Bool(flagFresh) && c.Bool(flagHTTP2) {
			return usage("--%s is not for --%s", flagFresh, flagHTTP2)
		}
		if c.IsSet(flagStreams) && !c.Bool(flagHTTP2) {
			return usage("--%s is for --%s", flagStreams, flagHTTP2)
		}
		return nil
	})
}

// bench sends load until it is over, or a signal ends it.
func bench(c *urfave.Command) error {
	opt, err := benchOptions(c)
	if err != nil {
		return err
	}
	phase := generator.Phase{
		Requests: c.Int64(flagRequests), Rate: c.Float(flagRate), Persist: true, Interval: time.Second,
	}
	if phase.Requests == 0 || c.IsSet(flagDuration) {
		phase.Duration = c.Duration(flagDuration)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	phase.Stop, phase.Abandon = interrupted(ctx, signals)

	g, err := generator.New(opt)
	if err != nil {
		return err
	}
	defer g.Close()
	ended := phase.Stop
	if phase.Duration > 0 && phase.Rate > 0 { // what is late by then is not sent any more
		phase.Stop = first(ctx, ended, phase.Duration)
	}
	r, err := g.Run(phase)
	if err != nil {
		return err
	}
	select {
	case <-ended:
		phase.Duration = r.Elapsed
	default:
	}
	report := newBenchReport(c, r)
	report.Unsent = unsent(phase, r)
	if c.Bool(flagJSON) {
		err = printJSON(c, report)
	} else {
		err = report.print(c.Root().Writer)
	}
	if err == nil && r.Requests == 0 {
		err = errors.New("no request succeeded")
	}
	return err
}

// unsent is how many requests were due in a phase and were not sent.
func unsent(p generator.Phase, r generator.Result) int64 {
	if p.Rate == 0 || p.Duration == 0 {
		return 0
	}
	due := int64(p.Rate * p.Duration.Seconds())
	if p.Requests > 0 {
		due = min(due, p.Requests)
	}
	return max(due-r.Requests-r.Failed(), 0)
}

// first returns what is closed when stop is, or after d.
func first(ctx context.Context, stop <-chan struct{}, d time.Duration) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-stop:
		case <-time.After(d):
		}
		close(over)
	}()
	return over
}

// interrupted returns what ends a phase: the first signal stops it, the second, or a second
// later, gives up what is not answered by then.
func interrupted(ctx context.Context, signals <-chan os.Signal) (stop, abandon <-chan struct{}) {
	first, second := make(chan struct{}), make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		close(first)
		select {
		case <-ctx.Done():
			return
		case <-signals:
		case <-time.After(time.Second):
		}
		close(second)
	}()
	return first, second
}

// benchOptions says what is sent where.
func benchOptions(c *urfave.Command) (generator.Options, error) {
	opt := generator.Options{
		Connections: c.Int(flagConnections), Fresh: c.Bool(flagFresh), Streams: c.Int(flagStreams), Status: -1, Body: -1, Timeout: c.Duration(flagTimeout),
	}
	if c.Bool(flagHTTP2) {
		opt.Protocol = generator.HTTP2
	}
	model, err := benchRequest(c)
	if err != nil {
		return opt, err
	}
	base := ""
	for _, text := range c.Args().Slice() {
		u, err := benchURL(text)
		if err != nil {
			return opt, err
		}
		switch here := u.Scheme + "://" + u.Host; base {
		case "":
			base = here
			opt.Address = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme]))
			if u.Scheme == "https" {
				opt.TLS = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: c.Bool(flagInsecure)}
			}
		case here:
		default:
			return opt, usage("found URLs of %s and of %s: want those of one server", base, here)
		}
		r := model
		r.Host, r.Path = cmp.Or(r.Host, u.Host), u.RequestURI()
		if u.User != nil {
			password, _ := u.User.Password()
			r.Fields = append(slices.Clip(r.Fields), "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
		}
		opt.Requests = append(opt.Requests, r.Raw())
	}
	return opt, nil
}

func benchURL(text string) (*url.URL, error) {
	const want = "http://HOST[:PORT][/PATH], or https"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, usage("found URL %q: %v: want %s", text, errors.Unwrap(err), want)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, usage("found URL %q: want %s", text, want)
	}
	return u, nil
}

// benchRequest returns what the requests for all URLs have in common.
func benchRequest(c *urfave.Command) (generator.Request, error) {
	r := generator.Request{Method: c.String(flagMethod)}
	if text := c.String(flagBody); text != "" {
		r.Body = []byte(text)
		if name, is := strings.CutPrefix(text, "@"); is {
			var err error
			if r.Body, err = os.ReadFile(name); err != nil {
				return r, usage("--%s: %w", flagBody, err)
			}
		}
		r.Method = cmp.Or(r.Method, "POST")
	}
	if r.Method != "" && !httpguts.ValidHeaderFieldName(r.Method) {
		return r, usage("--%s: found %q: want a method such as GET", flagMethod, r.Method)
	}
	own := map[string]bool{}
	for _, f := range c.StringSlice(flagHeader) {
		name, value, found := strings.Cut(f, ":")
		value = strings.Trim(value, " \t")
		if !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return r, usage("--%s: found %q: want \"Name: value\"", flagHeader, f)
		}
		name = strings.ToLower(name)
		switch own[name] = true; name {
		case "host":
			r.Host = value
		case "content-length", "transfer-encoding", "connection":
			return r, usage("--%s: found %q: want another field, because weir bench sets it", flagHeader, f)
		default:
			r.Fields = append(r.Fields, f[:len(name)]+": "+value)
		}
	}
	if c.Bool(flagFresh) {
		r.Fields = append(r.Fields, "Connection: close")
	}
	for _, f := range [...]struct{ name, value string }{{"User-Agent", "weir-bench/" + c.Root().Version}, {"Accept", "*/*"}} {
		if !own[strings.ToLower(f.name)] {
			r.Fields = append(r.Fields, f.name+": "+f.value)
		}
	}
	return r, nil
}

// statusesOf returns "200: 12, 404: 3".
func statusesOf(counts map[int]int64) string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d: %d", status, counts[status]))
	}
	return strings.Join(parts, ", ")
}

// protocolOf names what is spoken.
func protocolOf(c *urfave.Command) string {
	if c.Bool(flagHTTP2) {
		return "HTTP/2, " + count(c.Int(flagStreams), "stream") + " on each"
	}
	if c.Bool(flagFresh) {
		return "HTTP/1.1, a new connection for each request"
	}
	return "HTTP/1.1"
}
