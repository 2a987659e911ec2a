// Command weirload sends HTTP/1.1 load to one address and prints what came
// back. It is the command-line face of bench/load; it measures nothing but the
// answers. People who look into one number of the comparison call it.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net/url"
	"os"
	"time"

	"weir/bench/load"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "weirload:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		conns    = flag.Int("c", 64, "keep-alive connections")
		duration = flag.Duration("d", 5*time.Second, "how long requests are started, at most 10m")
		warmup   = flag.Duration("warmup", 500*time.Millisecond, "closed loop before it that does not count")
		rate     = flag.Float64("rate", 0, "requests per second; 0 means closed loop")
		post     = flag.Int("post", 0, "send POST with a body of so many bytes")
		status   = flag.Int("status", 200, "status that every answer must have")
		engine   = flag.String("engine", "", "epoll or goroutines; empty means the one that fits")
		insecure = flag.Bool("k", false, "accept any certificate")
	)
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: weirload [flags] http://host:port/path ...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return fmt.Errorf("cannot make load without a URL")
	}
	if *duration <= 0 || *duration > 10*time.Minute {
		return fmt.Errorf("cannot run for %v: allowed is above 0 and up to 10m", *duration)
	}
	opt := load.Options{Connections: *conns, Status: *status, Body: -1, Engine: load.Engine(*engine)}
	for _, arg := range flag.Args() {
		u, err := url.Parse(arg)
		if err != nil {
			return fmt.Errorf("cannot parse URL %q: %w", arg, err)
		}
		if opt.Address != "" && opt.Address != u.Host {
			return fmt.Errorf("cannot load both %q and %q: all URLs must have one host and port", opt.Address, u.Host)
		}
		opt.Address = u.Host
		switch u.Scheme {
		case "http":
		case "https":
			opt.TLS = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: *insecure}
		default:
			return fmt.Errorf("cannot load scheme %q: allowed are \"http\", \"https\"", u.Scheme)
		}
		if *post > 0 {
			opt.Requests = append(opt.Requests, load.Post(u.Host, u.RequestURI(), *post))
		} else {
			opt.Requests = append(opt.Requests, load.Get(u.Host, u.RequestURI()))
		}
	}
	g, err := load.New(opt)
	if err != nil {
		return err
	}
	defer g.Close()
	if *warmup > 0 {
		if _, err := g.Run(load.Phase{Duration: *warmup}); err != nil {
			return err
		}
	}
	res, err := g.Run(load.Phase{Duration: *duration, Rate: *rate})
	if err != nil {
		return err
	}
	fmt.Printf("%d answers in %v, %.0f per second, %d failed, %d reconnects\n",
		res.Requests, res.Elapsed.Round(time.Millisecond), res.PerSecond(), res.Failed(), res.Reconnects)
	fmt.Printf("p50 %v  p99 %v  p99.9 %v  max %v\n",
		res.Quantile(50), res.Quantile(99), res.Quantile(99.9), time.Duration(res.Latency.Max()))
	for cause, n := range res.Errors {
		fmt.Printf("failed: %d x %s\n", n, cause)
	}
	if res.Requests == 0 {
		return fmt.Errorf("cannot show a measurement: no request was answered as expected")
	}
	return nil
}
