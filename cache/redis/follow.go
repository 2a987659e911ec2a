package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"weir/cache/tier"
)

// Announcements are entries of two streams. That of purges has
//
//	m     a message
//	born  its epoch, which is when it began, in ns since the epoch of Unix
//	cut   with born: older entries were dropped, but no weir that follows has missed one
//
// and reaches back for markTime, which is longer than any value lives. That of changes has
// messages that need not last, the newest maxChanges of them.
//
// Redis may lose entries: it was flushed, restarted without what it had, failed over to a
// replica that lagged, or evicted the stream. A follower sees that from the entry that
// it read last: if that is no longer there, others may not be either. It reads everything again,
// and begins a new epoch, which tells of the loss to followers that cannot see it themselves:
// those that were away, or have read nothing yet. Values of other epochs are not believed any more.
const (
	markTime   = 26 * time.Hour
	maxPurges  = 100_000
	maxChanges = 10_000
	// block is how long one wait for announcements takes.
	block = 500 * time.Millisecond
	// page is how many announcements are read at once.
	page = 1000
	// bornAgain is the age of the last "born" entry from which on another one is made.
	bornAgain = markTime / 2
	// bornLately is how old an epoch may be that tells of a loss just noticed.
	bornLately = 5 * time.Second
)

// purgeStream is where purges are announced.
func (t *Tier) purgeStream() string { return t.prefix + "marks" }

// changeStream is where invalidations are announced, on the same node of a cluster.
func (t *Tier) changeStream() string {
	if open := strings.IndexByte(t.prefix, '{'); open >= 0 && strings.IndexByte(t.prefix[open:], '}') > 1 {
		return t.prefix + "changes"
	}
	return "{" + t.purgeStream() + "}changes"
}

// watch is how far the announcements were followed.
type watch struct {
	tier.Follower
	// purge and change are the last entries of the streams that were read; "0" for none.
	purge, change string
	// proof is an entry of the stream of purges that must be there if nothing was lost;
	// empty if none is known.
	proof string
	// lost is when a loss was noticed, in ns; 0 if none was.
	lost int64
	// epoch is that of the stream, 0 before it is known; bornEntry is the time of the
	// newest entry that says so, in ns.
	epoch, bornEntry int64
	// bornAt is when this follower has added such an entry because of its age, which is known by the
	// server's clock alone: that may be far behind.
	bornAt   time.Time
	caughtUp bool
}

func newWatch(f tier.Follower, from string) *watch {
	return &watch{Follower: f, purge: "0", change: "0", proof: from}
}

// again begins anew.
func (w *watch) again(now int64) {
	w.lost = now
	w.purge, w.change, w.proof = "0", "0", ""
	w.epoch, w.bornEntry, w.caughtUp = 0, 0, false
}

// run connects and then reads announcements, again and again.
func (t *Tier) run(ctx context.Context, w *watch) {
	for {
		err := t.follow(ctx, w)
		if ctx.Err() != nil {
			return
		}
		w.Report(reason(err))
		if err != nil {
			t.seen.Store(0) // until it is known that nothing was lost meanwhile
			t.pause(ctx)
		}
	}
}

// pause waits a moment before trying again.
func (t *Tier) pause(ctx context.Context) {
	timer := time.NewTimer(block)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// connect makes sure that commands find a connection to each node.
func (t *Tier) connect(ctx context.Context) (rueidis.Client, error) {
	client := t.client.Load()
	if client == nil {
		c, err := rueidis.NewClient(t.option)
		if err != nil {
			return nil, err
		}
		client = &c
		t.client.Store(client)
	}
	c := *client
	if t.connected.Load() {
		return c, nil
	}
	// No look-up may meet the dialling.
	t.gate.Lock()
	defer t.gate.Unlock()
	answered := false
	err := tier.ErrUnavailable
	for _, node := range c.Nodes() {
		err = node.Do(ctx, node.B().Ping().Build()).Error()
		answered = answered || err == nil
	}
	if !answered {
		return nil, err
	}
	t.connected.Store(true)
	return c, nil
}

// follow reads once what was announced, and tells the follower.
func (t *Tier) follow(ctx context.Context, w *watch) error {
	ctx, done := context.WithTimeout(ctx, commandTimeout+block)
	defer done()
	c, err := t.connect(ctx)
	if err != nil {
		return err
	}
	purges, changes, whole, err := t.read(ctx, c, w)
	if err != nil {
		if _, answered := rueidis.IsRedisErr(err); !answered {
			t.connected.Store(false)
		}
		return err
	}
	now, elapsed := t.wall().UnixNano(), t.elapsed()
	if !whole {
		t.seen.Store(0)
		w.again(now)
		w.Lost(now)
		return nil
	}
	for _, e := range purges {
		w.take(e, now)
	}
	for _, e := range changes {
		w.change = e.ID
		w.Follow([]byte(e.FieldValues["m"]))
	}
	if !w.caughtUp && (len(purges) == page || len(changes) == page) {
		return nil // there is more
	}
	ctx = withoutDial(ctx)
	switch {
	case w.epoch == 0, w.lost > 0 && w.epoch < w.lost-int64(bornLately):
		return t.born(ctx, c, max(now, w.lost)) // the clock may have been set back since
	case now-w.bornEntry > int64(bornAgain) && (w.bornAt.IsZero() || time.Since(w.bornAt) > bornAgain):
		w.bornAt = time.Now()
		return t.born(ctx, c, w.epoch)
	}
	t.epoch.Store(w.epoch)
	if w.lost = 0; !w.caughtUp || len(purges) > 0 {
		w.caughtUp = true
		w.CaughtUp(w.proof)
	}
	t.seen.Store(elapsed)
	return nil
}

// take takes an entry of the stream of purges.
func (w *watch) take(e rueidis.XRangeEntry, now int64) {
	w.purge, w.proof = e.ID, e.ID
	if m, ok := e.FieldValues["m"]; ok {
		w.Follow([]byte(m))
	}
	epoch, err := strconv.ParseInt(e.FieldValues["born"], 10, 64)
	if err != nil {
		return
	}
	w.bornEntry = idTime(e.ID)
	if epoch <= w.epoch {
		return
	}
	w.epoch = epoch
	_, cut := e.FieldValues["cut"]
	switch {
	case !w.caughtUp:
		w.Lost(min(epoch+int64(tier.Skew), now)) // by the clock of the process that wrote the entry
	case !cut:
		w.Lost(now)
	}
}

// idTime is the time of an entry, in ns since the epoch.
func idTime(id string) int64 {
	ms, _, _ := strings.Cut(id, "-")
	n, _ := strconv.ParseInt(ms, 10, 64)
	return n * int64(time.Millisecond)
}

// read reads what comes after the last entries. whole is false if the proof is gone, which is
// looked at afterwards: what was read before is then worth nothing. It waits for
// announcements only once the past ones are read: until then the tier is of no use.
func (t *Tier) read(ctx context.Context, c rueidis.Client, w *watch) (purges, changes []rueidis.XRangeEntry, whole bool, err error) {
	list := []rueidis.Completed{t.readCommand(c, w)}
	if w.proof != "" {
		list = append(list, c.B().Xrange().Key(t.purgeStream()).Start(w.proof).End(w.proof).Build())
	}
	if !w.caughtUp {
		ctx = withoutDial(ctx) // by the connection of the look-ups
	}
	answers := c.DoMulti(ctx, list...)
	streams, err := answers[0].AsXRead()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, nil, false, err
	}
	if w.proof != "" {
		found, err := answers[1].AsXRange()
		if err != nil {
			return nil, nil, false, err
		}
		whole = len(found) > 0
	} else {
		whole = true
	}
	return streams[t.purgeStream()], streams[t.changeStream()], whole, nil
}

func (t *Tier) readCommand(c rueidis.Client, w *watch) rueidis.Completed {
	some := c.B().Xread().Count(page)
	if !w.caughtUp {
		return some.Streams().Key(t.purgeStream(), t.changeStream()).Id(w.purge, w.change).Build()
	}
	return some.Block(block.Milliseconds()).Streams().Key(t.purgeStream(), t.changeStream()).Id(w.purge, w.change).Build()
}

// born adds an entry that tells the epoch.
func (t *Tier) born(ctx context.Context, c commander, epoch int64, more ...string) error {
	return t.add(ctx, c, t.purgeStream(), append([]string{"*", "born", strconv.FormatInt(epoch, 10)}, more...)...)
}

// commander is a client, or one of its connections.
type commander interface {
	B() rueidis.Builder
	Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult
}

// pastLimit adds an entry although the server has used up its memory, which a purge needs
// most of all. Servers before Redis 7 do not know the flag.
const pastLimit = "#!lua flags=allow-oom\nreturn redis.call('XADD', KEYS[1], unpack(ARGV))"

var errNoStream = errors.New("there is no stream of purges")

// add adds an entry to a stream, with the arguments of XADD.
func (t *Tier) add(ctx context.Context, c commander, stream string, args ...string) error {
	err := c.Do(ctx, c.B().Arbitrary("XADD").Keys(stream).Args(args...).Build()).Error()
	if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "OOM") {
		if c.Do(ctx, c.B().Eval().Script(pastLimit).Numkeys(1).Key(stream).Arg(args...).Build()).Error() == nil {
			return nil
		}
	}
	if rueidis.IsRedisNil(err) {
		return errNoStream
	}
	return err
}

// Announce implements tier.Tier.
func (t *Tier) Announce(ctx context.Context, a tier.Announcement) error {
	client := t.client.Load()
	if client == nil || !t.connected.Load() {
		return tier.ErrUnavailable
	}
	c := *client
	list := make([]rueidis.Completed, 0, len(a.Keys)+1)
	for _, key := range a.Keys {
		list = append(list, c.B().Unlink().Key(t.key(key)).Build())
	}
	if !a.Purge {
		list = append(list, c.B().Xadd().Key(t.changeStream()).Maxlen().Almost().Threshold(strconv.Itoa(maxChanges)).Id("*").
			FieldValue().FieldValue("m", rueidis.BinaryString(a.Message)).Build())
	}
	for _, r := range c.DoMulti(withoutDial(ctx), list...) {
		if err := r.Error(); err != nil && !a.Purge {
			return reason(err)
		}
	}
	if !a.Purge {
		return nil
	}
	return reason(c.Dedicated(func(d rueidis.DedicatedClient) error { return t.announcePurge(ctx, d, a.Message) }))
}

// announcePurge adds a purge to its stream, and waits until a replica has it if there are any.
func (t *Tier) announcePurge(ctx context.Context, c commander, message []byte) error {
	oldest := strconv.FormatInt(t.wall().Add(-markTime).UnixMilli(), 10)
	add := func() error {
		return t.add(ctx, c, t.purgeStream(), "NOMKSTREAM", "MINID", "~", oldest, "*", "m", rueidis.BinaryString(message))
	}
	err := add()
	if errors.Is(err, errNoStream) {
		if err = t.born(ctx, c, t.wall().UnixNano()); err == nil {
			err = add()
		}
	}
	if err != nil {
		return err
	}
	if t.announced.Add(1)%64 == 0 {
		if err := t.cut(ctx, c); err != nil {
			return err
		}
	}
	role, err := c.Do(ctx, c.B().Role().Build()).ToArray()
	if err != nil || len(role) < 3 {
		return nil // a user that may not ask for the role cannot know of replicas
	}
	if replicas, err := role[2].ToArray(); err != nil || len(replicas) == 0 {
		return nil
	}
	n, err := c.Do(ctx, c.B().Wait().Numreplicas(1).Timeout(block.Milliseconds()).Build()).AsInt64()
	if err == nil && n == 0 {
		err = fmt.Errorf("no replica has the purge after %v", block)
	}
	return err
}

// cut drops the older half of a stream of purges that is too long.
func (t *Tier) cut(ctx context.Context, c commander) error {
	n, err := c.Do(ctx, c.B().Xlen().Key(t.purgeStream()).Build()).AsInt64()
	if err != nil || n <= maxPurges {
		return err
	}
	if err := t.born(ctx, c, t.wall().UnixNano(), "cut", ""); err != nil {
		return err
	}
	return c.Do(ctx, c.B().Xtrim().Key(t.purgeStream()).Maxlen().Almost().Threshold(strconv.Itoa(maxPurges/2)).Build()).Error()
}
