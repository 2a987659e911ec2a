package discovertest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"weir/lb"
)

// origins are servers that answer with their own name: all at one port, at addresses of the
// loopback interface.
type origins struct {
	port    string
	servers []*http.Server
	conns   [count]atomic.Int32 // by number
	// sick is the number of the origin that answers 503, if it is not 0.
	sick atomic.Int32
}

// addressOf returns the address of the origin of a number.
func addressOf(number int) string { return fmt.Sprintf("127.0.0.%d", number+1) }

// listen starts all origins.
func listen() (*origins, error) {
	for try := 0; ; try++ {
		o := &origins{port: "0"}
		err := o.open()
		if err == nil {
			return o, nil
		}
		o.close() // another program has the port at one of the addresses
		if try == 10 {
			return nil, err
		}
	}
}

func (o *origins) open() error {
	for i := range count {
		ln, err := net.Listen("tcp", net.JoinHostPort(addressOf(i), o.port))
		if err != nil {
			return err
		}
		_, o.port, _ = net.SplitHostPort(ln.Addr().String())
		name := addressOf(i)
		s := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if i > 0 && o.sick.Load() == int32(i) {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				io.WriteString(w, name)
			}),
			ConnState: func(_ net.Conn, state http.ConnState) {
				switch state {
				case http.StateNew:
					o.conns[i].Add(1)
				case http.StateClosed:
					o.conns[i].Add(-1)
				}
			},
		}
		o.servers = append(o.servers, s)
		go s.Serve(ln)
	}
	return nil
}

func (o *origins) close() {
	for _, s := range o.servers {
		s.Close()
	}
}

// endpoint is the origin of a number as a source reports it.
func (o *origins) endpoint(number, weight int) lb.Endpoint {
	return lb.Endpoint{URL: "http://" + net.JoinHostPort(addressOf(number), o.port), Weight: weight}
}

// answer is what a client got.
type answer struct {
	at time.Time
	// from is the address of the origin; empty if the request failed.
	from string
}

// traffic sends requests at a steady rate and remembers the answers.
type traffic struct {
	url    string
	client *http.Client
	stop   chan struct{}
	ends   sync.WaitGroup
	failed atomic.Pointer[string] // the first failure

	mu      sync.Mutex
	answers []answer
}

func send(address string, rate int) *traffic {
	t := &traffic{url: "http://" + address + "/", stop: make(chan struct{})}
	t.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 10 * time.Second}
	t.ends.Go(func() {
		ticks := time.NewTicker(time.Second / time.Duration(rate))
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				t.ends.Go(t.request)
			case <-t.stop:
				return
			}
		}
	})
	return t
}

func (t *traffic) request() {
	from, problem := t.get()
	if problem != "" {
		t.failed.CompareAndSwap(nil, &problem)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers = append(t.answers, answer{time.Now(), from})
}

func (t *traffic) get() (from, problem string) {
	r, err := t.client.Get(t.url)
	if err != nil {
		return "", err.Error()
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return "", err.Error()
	case r.StatusCode != http.StatusOK:
		return "", fmt.Sprint(r.StatusCode, " ", string(body))
	}
	return string(body), ""
}

// close stops the traffic and waits for the last answer.
func (t *traffic) close() {
	close(t.stop)
	t.ends.Wait()
	t.client.CloseIdleConnections()
}

// count returns how many answers there are.
func (t *traffic) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.answers)
}

// since returns the answers from one on.
func (t *traffic) since(n int) []answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answers[n:]
}
