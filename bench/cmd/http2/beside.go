package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// showBeside asks for small answers while a large one comes on the same connection.
func showBeside(ctx context.Context, weir string) error {
	p, err := startWeir(weir)
	if err != nil {
		return err
	}
	defer p.stop()
	c, err := p.dial(false, false)
	if err != nil {
		return err
	}
	defer c.Close()
	var took []time.Duration
	size := 64 << 20
	large := uint32(1)
	for small := uint32(3); len(took) < 50; small += 2 {
		if small == 3 || c.isWhole(large) {
			large, small = small, small+2
			c.request(large, "GET", fmt.Sprint("/bytes/", size), true)
			if err := c.send(); err != nil {
				return err
			}
			if err := c.await(ctx, 10*time.Second, func() bool { return c.bytes[large] > 1<<20 }); err != nil {
				return err
			}
		}
		began := time.Now()
		c.request(small, "GET", "/", true)
		if err := c.send(); err != nil {
			return err
		}
		if err := c.await(ctx, 10*time.Second, func() bool { return c.whole[small] }); err != nil {
			return err
		}
		if !c.isWhole(large) {
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	fmt.Printf("\n## Small answers beside a download of %d MiB on one connection: %d of them, median %.2f ms\n", size>>20, len(took), ms(took[len(took)/2]))
	promises()
	promise("the slowest", ms(took[len(took)-1]), 10, "ms")
	return nil
}

func (c *client) isWhole(stream uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whole[stream]
}
