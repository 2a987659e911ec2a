package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// largeBody is the size of the bodies.
const largeBody = 1 << 30

// showLarge moves bodies of a GiB in each direction, to targets of HTTP/1.1 and of HTTP/2, and looks at the memory meanwhile.
func showLarge(ctx context.Context, weir string) error {
	p, err := startWeir(weir)
	if err != nil {
		return err
	}
	defer p.stop()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: p.secure.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}}
	// The first bodies make what weir makes once.
	for _, way := range largeWays {
		if err := way.move(ctx, client, p.address, 16<<20); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
	before := p.resident()
	fmt.Printf("\n## Bodies of 1 GiB over HTTP/2, where weir has %.1f MiB before\n", before/1024)
	promises()
	for _, way := range largeWays {
		peak, began := p.peak(), time.Now()
		err := way.move(ctx, client, p.address, largeBody)
		most := peak()
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		promise(fmt.Sprintf("%s, %.1f s: more memory at the most", way.name, time.Since(began).Seconds()), (most-before)/1024, 8, "MiB")
	}
	return nil
}

// largeWay moves a body of n bytes in one way.
type largeWay struct {
	name string
	move func(ctx context.Context, client *http.Client, address string, n int64) error
}

var largeWays = []largeWay{
	{"download from a target of HTTP/1.1", download("")},
	{"upload to a target of HTTP/1.1", upload("")},
	{"download from a target of HTTP/2", download(framedPath)},
	{"upload to a target of HTTP/2", upload(framedPath)},
}

func download(prefix string) func(context.Context, *http.Client, string, int64) error {
	return func(ctx context.Context, client *http.Client, address string, n int64) error {
		r, err := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("https://%s%s/bytes/%d", address, prefix, n), nil)
		if err != nil {
			return err
		}
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		got, err := io.Copy(io.Discard, response.Body)
		return whole(response, got, n, err)
	}
}

func upload(prefix string) func(context.Context, *http.Client, string, int64) error {
	return func(ctx context.Context, client *http.Client, address string, n int64) error {
		r, err := http.NewRequestWithContext(ctx, "POST", "https://"+address+prefix+countPath, io.LimitReader(zeros{}, n))
		if err != nil {
			return err
		}
		r.ContentLength = n
		response, err := client.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		got, _ := strconv.ParseInt(string(b), 10, 64)
		return whole(response, got, n, err)
	}
}

// whole says what is wrong with an answer, or with a body that should have moved whole.
func whole(response *http.Response, got, want int64, err error) error {
	switch {
	case err != nil:
		return err
	case response.ProtoMajor != 2 || response.StatusCode != 200:
		return fmt.Errorf("answered with %s %s", response.Proto, response.Status)
	case got != want:
		return fmt.Errorf("%d bytes of %d have moved", got, want)
	}
	return nil
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// peak looks at weir's resident memory until the function that it returns is called, which returns the most that was seen,
// in KiB.
func (p *proxy) peak() func() float64 {
	var end atomic.Bool
	most := make(chan float64)
	go func() {
		seen := 0.0
		for !end.Load() {
			seen = max(seen, p.resident())
			time.Sleep(10 * time.Millisecond)
		}
		most <- seen
	}()
	return func() float64 {
		end.Store(true)
		return <-most
	}
}
