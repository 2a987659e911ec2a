package main

import (
	"context"
	"fmt"
	"time"
)

const (
	idleClients    = 1000
	waitingClients = 100
	waitingStreams = 50 // on each connection
)

// showMemory shows what connections and streams take that wait.
func showMemory(ctx context.Context, weir string) error {
	p, err := startWeir(weir)
	if err != nil {
		return err
	}
	defer p.stop()
	// The first requests make what weir makes once.
	if _, err := p.clients(ctx, 10); err != nil {
		return err
	}
	time.Sleep(time.Second)
	before := p.resident()
	idle, err := p.clients(ctx, idleClients)
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // buffers are given back, the collector runs
	perIdle := (p.resident() - before) / idleClients
	for _, c := range idle {
		c.Close()
	}
	p.stop()

	if p, err = startWeir(weir); err != nil {
		return err
	}
	defer p.stop()
	clients, err := p.clients(ctx, waitingClients)
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	before = p.resident()
	for k, c := range clients {
		for i := range uint32(waitingStreams) {
			c.request(2*i+3, "GET", "/wait", true)
		}
		if err := c.send(); err != nil {
			return err
		}
		// Not more at once than the origin's queue of connections takes.
		began := time.Now()
		for p.origin.waits.Load() < int64(k+1)*waitingStreams {
			if time.Since(began) > time.Minute {
				return fmt.Errorf("only %d streams of %d have reached the origin", p.origin.waits.Load(), (k+1)*waitingStreams)
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	time.Sleep(2 * time.Second)
	perStream := (p.resident() - before) / (waitingClients * waitingStreams)
	fmt.Printf("## Memory: %d connections after one request, %d streams that wait for the origin on %d connections\n", idleClients, waitingClients*waitingStreams, waitingClients)
	promises()
	promise("idle connection", perIdle, 40, "KiB")
	promise("waiting stream, its connection to the origin included", perStream, 15, "KiB")
	return nil
}

// clients connects n clients, each of which has made one request.
func (p *proxy) clients(ctx context.Context, n int) ([]*client, error) {
	var list []*client
	for range n {
		c, err := p.dial(false, false)
		if err != nil {
			return nil, err
		}
		c.request(1, "GET", "/", true)
		if err := c.send(); err != nil {
			return nil, err
		}
		if err := c.await(ctx, 10*time.Second, func() bool { return c.whole[1] }); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}
