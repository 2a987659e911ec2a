package tracing

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"weir/config"
	"weir/trace"
)

const (
	// maxBatch is the most spans that are sent at once.
	maxBatch = 512
	// maxWait is how long a span waits for others.
	maxWait = time.Second
	// flushTime is how long Close waits for the collector to take what is left.
	flushTime = 3 * time.Second
)

// Collector sends spans by an exporter, on a goroutine of its own. A nil Collector keeps none.
type Collector struct {
	settings config.Tracing
	exporter trace.Exporter
	log      *slog.Logger
	counts   *Counts

	queue chan *trace.Span
	// dropping says that the log has said that spans are dropped.
	dropping atomic.Bool
	stop     chan struct{}
	once     sync.Once
	done     chan struct{}
	// cancel ends what the exporter does.
	cancel context.CancelFunc
}

// Counts are what became of spans, over all collectors of a server. The zero value is ready.
type Counts struct {
	shown                           atomic.Bool
	sent, dropped, failed, rejected atomic.Uint64
}

// WriteMetrics writes the series; none before there was a collector.
func (c *Counts) WriteMetrics(w io.Writer) {
	if !c.shown.Load() {
		return
	}
	for result, n := range map[string]*atomic.Uint64{"sent": &c.sent, "dropped": &c.dropped, "failed": &c.failed, "rejected": &c.rejected} {
		metrics.WriteCounterUint64(w, `weir_trace_spans_total{result="`+result+`"}`, n.Load())
	}
}

// NewCollector returns a Collector that sends by e, which it closes.
func NewCollector(cfg *config.Tracing, e trace.Exporter, log *slog.Logger, counts *Counts) *Collector {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Collector{
		settings: *cfg, exporter: e, log: log, counts: counts, queue: make(chan *trace.Span, cfg.Queue),
		stop: make(chan struct{}), done: make(chan struct{}), cancel: cancel,
	}
	counts.shown.Store(true)
	go c.run(ctx)
	return c
}

// Settings are those that c was made for.
func (c *Collector) Settings() *config.Tracing { return &c.settings }

// room says whether the queue has room for a span; if not, that span is counted as dropped.
func (c *Collector) room() bool {
	if c == nil {
		return false
	}
	if len(c.queue) < cap(c.queue) {
		return true
	}
	c.drop()
	return false
}

// add puts a span into the queue, if there is room for it.
func (c *Collector) add(s *trace.Span) {
	select {
	case c.queue <- s:
	default:
		c.drop()
	}
}

func (c *Collector) drop() {
	c.counts.dropped.Add(1)
	if c.dropping.CompareAndSwap(false, true) {
		c.log.Warn("spans are dropped, because the collector takes fewer than there are", "queue", cap(c.queue))
	}
}

// run sends spans until Close.
func (c *Collector) run(ctx context.Context) {
	defer close(c.done)
	batch := make([]*trace.Span, 0, maxBatch)
	failing := false
	for more := true; more; {
		batch, more = c.collect(batch[:0])
		if len(batch) == 0 {
			continue
		}
		rejected, err := c.export(ctx, batch)
		switch n := uint64(len(batch)); {
		case err != nil:
			c.counts.failed.Add(n)
			if !failing {
				c.log.Warn("the collector does not take spans", "error", err)
			}
			failing = true
		default:
			c.counts.sent.Add(n - uint64(rejected))
			c.counts.rejected.Add(uint64(rejected))
			if failing {
				c.log.Info("the collector takes spans again")
			}
			failing = false
			if len(c.queue) < cap(c.queue)/2 {
				c.dropping.Store(false)
			}
		}
		clear(batch)
	}
	if err := c.exporter.Close(); err != nil {
		c.log.Warn("cannot close the exporter of spans", "error", err)
	}
}

// export sends a batch. A panic of a program's exporter costs that batch.
func (c *Collector) export(ctx context.Context, batch []*trace.Span) (rejected int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the exporter panicked: %v", v)
		}
	}()
	return c.exporter.Export(ctx, batch)
}

// collect fills a batch. more is false after the last one.
func (c *Collector) collect(batch []*trace.Span) (_ []*trace.Span, more bool) {
	select {
	case s := <-c.queue:
		batch = append(batch, s)
	case <-c.stop:
		return c.rest(batch)
	}
	t := time.NewTimer(maxWait)
	defer t.Stop()
	for len(batch) < maxBatch {
		select {
		case s := <-c.queue:
			batch = append(batch, s)
		case <-t.C:
			return batch, true
		case <-c.stop:
			return c.rest(batch)
		}
	}
	return batch, true
}

// rest fills a batch with what is there.
func (c *Collector) rest(batch []*trace.Span) (_ []*trace.Span, more bool) {
	for len(batch) < maxBatch {
		select {
		case s := <-c.queue:
			batch = append(batch, s)
		default:
			return batch, false
		}
	}
	return batch, true
}

// Close sends what waits, for a few seconds at most, and ends the exporter. Spans that are added later are
// lost. c may be nil.
func (c *Collector) Close() {
	if c == nil {
		return
	}
	c.once.Do(func() { close(c.stop) })
	t := time.AfterFunc(flushTime, c.cancel)
	defer t.Stop()
	<-c.done
	c.cancel()
}
