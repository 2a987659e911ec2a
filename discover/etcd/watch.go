package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

const (
	// answerWithin bounds a question to the servers.
	answerWithin = 5 * time.Second
	// askEvery is how often the server is asked how far the watch has come, which proves that it
	// is there.
	askEvery = 3 * time.Second
	// silent is how long it may then say nothing.
	silent = 10 * time.Second
	// gather is how long changes are gathered before they are reported.
	gather = 20 * time.Millisecond
)

// keys are the keys below a prefix and what they have.
type keys struct {
	values map[string][]byte
	// changed is the revision of the last change of any of them.
	changed int64
}

// pair is a key and what it has.
type pair struct {
	key   string
	value []byte
}

// sorted returns the pairs in the order of their keys.
func (k *keys) sorted() []pair {
	var list []pair
	for key, value := range k.values {
		list = append(list, pair{key, value})
	}
	slices.SortFunc(list, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	return list
}

// apply takes in a change.
func (k *keys) apply(e *clientv3.Event) {
	k.changed = max(k.changed, e.Kv.ModRevision)
	if e.Type == mvccpb.DELETE {
		delete(k.values, string(e.Kv.Key))
	} else {
		k.values[string(e.Kv.Key)] = e.Kv.Value
	}
}

// watch calls found with all keys that begin with prefix when they are known, after each change, and when the server has
// confirmed them. It ends with the error of found, too.
func (p *place) watch(ctx context.Context, prefix string, found func(*keys) error) error {
	// The watch ends with the function, not with what calls it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		all, next, err := read(ctx, c, prefix)
		if err != nil {
			return err
		}
		if err := found(all); err != nil {
			return err
		}
		if err := follow(ctx, c, prefix, all, next, found); !errors.Is(err, errMissed) {
			return err
		}
	}
}

// errMissed says that the watch may have missed changes, so that all keys must be read again: the server has compacted
// them, or it has another history than before, because it began empty or from a backup.
var errMissed = errors.New("the watch may have missed changes")

// read returns all keys, and the revision after that at which they were so.
func read(ctx context.Context, c *clientv3.Client, prefix string) (*keys, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	all := &keys{values: make(map[string][]byte, len(answer.Kvs))}
	for _, kv := range answer.Kvs {
		all.values[string(kv.Key)] = kv.Value
		all.changed = max(all.changed, kv.ModRevision)
	}
	return all, answer.Header.Revision + 1, nil
}

// follow takes in changes from a revision on, until something is wrong.
func follow(ctx context.Context, c *clientv3.Client, prefix string, all *keys, from int64, found func(*keys) error) error {
	ctx = clientv3.WithRequireLeader(ctx)
	// The client would connect again and go on at the same revision, which may be of another history by then.
	lost := disconnected(ctx, c.ActiveConnection())
	changes := c.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithProgressNotify())
	latest := from - 1 // revision
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	heard := time.Now()
	var gathered <-chan time.Time // nil: there is nothing to report
	for {
		select {
		case answer, ok := <-changes:
			switch {
			case !ok:
				return cmp.Or(ctx.Err(), errors.New("the watch has ended"))
			case answer.CompactRevision != 0:
				return errMissed
			case answer.Err() != nil:
				return answer.Err()
			case answer.Header.Revision < latest:
				return errMissed
			}
			heard, latest = time.Now(), answer.Header.Revision
			for _, e := range answer.Events {
				all.apply(e)
			}
			if gathered == nil {
				gathered = time.After(gather)
			}
		case <-gathered:
			gathered = nil
			if err := found(all); err != nil {
				return err
			}
		case <-ask.C:
			if time.Since(heard) > silent {
				return fmt.Errorf("the server has not answered for %v", silent)
			}
			// On a goroutine of its own, because the call waits as long as there is no connection.
			go c.RequestProgress(ctx)
		case <-lost:
			return errMissed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// disconnected returns a channel that is closed when c has no connection any more.
func disconnected(ctx context.Context, c *grpc.ClientConn) <-chan struct{} {
	lost := make(chan struct{})
	go func() {
		for state := c.GetState(); state == connectivity.Ready; state = c.GetState() {
			if !c.WaitForStateChange(ctx, state) {
				return
			}
		}
		close(lost)
	}()
	return lost
}
