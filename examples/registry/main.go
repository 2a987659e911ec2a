// Command registry shows the registry of an embedded weir: three versions of two services, each
// with two endpoints, are reached at /SERVICE/VERSION/. While clients send requests, an endpoint is
// killed, another one is drained and taken away, and a new one joins; no request fails.
//
//	go run ./examples/registry
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"weir/config"
	"weir/lb"
	"weir/server"
)

const configuration = `
[[listeners]]
name = "main"
address = "127.0.0.1:0"

[[routes]]
path = "/{service}/{version}/"
upstream = "{service}/{version}"
strip_prefix = true

[access_log]
output = "off"
`

func main() {
	length := flag.Duration("for", 6*time.Second, "how long to send requests")
	flag.Parse()
	if failed, err := run(os.Stdout, *length); err != nil || failed > 0 {
		log.Fatalf("%d requests failed; %v", failed, err)
	}
}

// instance is one process of a service, as far as clients can tell.
type instance struct {
	url    string
	server *http.Server
}

// launch starts an instance that says who it is.
func launch(name string) (*instance, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &instance{url: "http://" + l.Addr().String(), server: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s at %s", name, l.Addr())
	})}}
	go i.server.Serve(l)
	return i, nil
}

// run sends requests for a time while endpoints come and go, and returns how many failed.
func run(w io.Writer, length time.Duration) (failed int, err error) {
	cfg, err := config.Parse("configuration", []byte(configuration))
	if err != nil {
		return 0, err
	}
	srv, err := server.New(cfg)
	if err != nil {
		return 0, err
	}
	defer srv.Close()
	if err := srv.Start(); err != nil {
		return 0, err
	}

	instances := make(map[string][]*instance)
	join := func(name, version string) error {
		i, err := launch(name + " " + version)
		if err != nil {
			return err
		}
		instances[name+"/"+version] = append(instances[name+"/"+version], i)
		return srv.Registry().Add(name, version, lb.Endpoint{URL: i.url})
	}
	for range 2 {
		for _, name := range []string{"cart", "shop"} {
			for _, version := range []string{"v1", "v2", "v3"} {
				if err := join(name, version); err != nil {
					return 0, err
				}
			}
		}
	}
	defer func() {
		for _, list := range instances {
			for _, i := range list {
				i.server.Close()
			}
		}
	}()

	clients := newClients("http://" + srv.Addr("main").String())
	for service := range instances {
		clients.start(service)
	}
	pause := func() { time.Sleep(length / 5) }
	pause()
	all := 0
	for _, list := range instances {
		all += len(list)
	}
	if err := clients.wait(all); err != nil {
		return 0, err
	}
	killed := instances["shop/v2"][0]
	fmt.Fprintln(w, "an endpoint of shop/v2 is killed:", killed.url)
	killed.server.Close()
	pause()
	drained := instances["cart/v3"][0]
	fmt.Fprintln(w, "an endpoint of cart/v3 is drained:", drained.url)
	if err := srv.Drain("cart/v3", drained.url, true); err != nil {
		return 0, err
	}
	pause()
	fmt.Fprintln(w, "the drained one is taken away, and a new endpoint of shop/v2 joins")
	srv.Registry().Delete("cart", "v3", drained.url)
	if err := join("shop", "v2"); err != nil {
		return 0, err
	}
	pause()
	srv.Registry().Delete("shop", "v2", killed.url)
	pause()
	return clients.stop(w), nil
}

// clients send requests, one at a time for each service, and count who answers.
type clients struct {
	url     string
	done    chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int // by answer
	failed int
}

func newClients(url string) *clients {
	return &clients{url: url, done: make(chan struct{}), counts: make(map[string]int)}
}

// start sends requests to a service until stop.
func (c *clients) start(service string) {
	c.running.Go(func() {
		tick := time.NewTicker(12 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				status, answer := c.get("/" + service + "/")
				c.mu.Lock()
				if status == http.StatusOK {
					c.counts[answer]++
				} else {
					c.failed++
					c.counts[fmt.Sprint(service, ": status ", status, " ", answer)]++
				}
				c.mu.Unlock()
			case <-c.done:
				return
			}
		}
	})
}

// wait returns when so many instances have answered: an endpoint that was just added is used a moment later.
func (c *clients) wait(instances int) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		answered := len(c.counts)
		c.mu.Unlock()
		if answered >= instances {
			return nil
		}
	}
	return fmt.Errorf("not all of %d instances have answered within a minute", instances)
}

func (c *clients) get(path string) (status int, answer string) {
	r, err := http.Get(c.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(body)
}

// stop ends the clients, prints who answered how often, and returns how many requests failed.
func (c *clients) stop(w io.Writer) (failed int) {
	close(c.done)
	c.running.Wait()
	all := 0
	for _, answer := range slices.Sorted(maps.Keys(c.counts)) {
		fmt.Fprintf(w, "%6d  %s\n", c.counts[answer], answer)
		all += c.counts[answer]
	}
	fmt.Fprintf(w, "%6d  requests, of which %d failed\n", all, c.failed)
	return c.failed
}
