package zookeeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// confirm is how often what is known is reported again while the session lives.
	confirm = 10 * time.Second
	// gather is how long changes are gathered before nodes are read.
	gather = 20 * time.Millisecond
)

// node is what a path has.
type node struct {
	data     []byte
	children map[string]child
	// changed is the number of the last change of any of them (zxid).
	changed int64
}

type child struct {
	name string
	data []byte
}

func (n *node) sorted() []child {
	return slices.SortedFunc(maps.Values(n.children), func(a, b child) int { return cmp.Compare(a.name, b.name) })
}

// watcher reads a node and its children, and those again that have changed.
type watcher struct {
	*zk.Conn
	path string
	node
	// changes gets the names of watches that have fired.
	changes chan string
	over    <-chan struct{}
}

// watch calls found with the node at the path when it is known, after each change, and while the session
// lives. It ends when the connection is lost, and with the error of found.
func (p *place) watch(ctx context.Context, found func(*node) error) error {
	return p.connected(ctx, func(ctx context.Context, c *zk.Conn, events <-chan zk.Event) error {
		return watch(ctx, c, events, p.path, found)
	})
}

// connected calls f with a connection, which ends with f.
func (p *place) connected(ctx context.Context, f func(ctx context.Context, c *zk.Conn, events <-chan zk.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, events, err := p.open(p.session)
	if err != nil {
		return err
	}
	// Closing ends calls that wait for a connection.
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		c.Close()
		close(closed)
	})
	defer func() { cancel(); <-closed }()
	if err := p.login(c); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return f(ctx, c, events)
}

// watch is place.watch by a connection, of which events, if they are not nil, say whether it lives.
func watch(ctx context.Context, c *zk.Conn, events <-chan zk.Event, path string, found func(*node) error) error {
	ctx, cancel := context.WithCancel(ctx) // ends what waits for the watches
	defer cancel()
	w := &watcher{Conn: c, path: path, changes: make(chan string), over: ctx.Done()}
	if err := w.readAll(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return cmp.Or(w.follow(ctx, events, found), ctx.Err())
}

func (w *watcher) follow(ctx context.Context, events <-chan zk.Event, found func(*node) error) error {
	if err := found(&w.node); err != nil {
		return err
	}
	ticks := time.NewTicker(confirm)
	defer ticks.Stop()
	for {
		select {
		case name := <-w.changes:
			if err := w.read(w.gather(name)); err != nil {
				return err
			}
		case e := <-events:
			if e.State == zk.StateDisconnected || e.State == zk.StateExpired || e.State == zk.StateAuthFailed {
				return errors.New("the connection was lost: " + e.State.String())
			}
			continue
		case <-ticks.C:
			if w.State() != zk.StateHasSession {
				continue
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := found(&w.node); err != nil {
			return err
		}
	}
}

// gather waits a moment for more changes.
func (w *watcher) gather(name string) map[string]bool {
	changed := map[string]bool{name: true}
	for end := time.After(gather); ; {
		select {
		case name := <-w.changes:
			changed[name] = true
		case <-end:
			return changed
		}
	}
}

// notify passes the event of a watch on.
func (w *watcher) notify(name string, event <-chan zk.Event) {
	select {
	case <-event:
	case <-w.over:
		return
	}
	select {
	case w.changes <- name:
	case <-w.over:
	}
}

// The watches of the node itself; all others are named by their child.
const (
	ofChildren = ""
	ofData     = "/data"
	ofExists   = "/exists"
)

// read reads what has changed.
func (w *watcher) read(changed map[string]bool) error {
	for name := range changed {
		var err error
		switch name {
		case ofChildren, ofExists:
		case ofData:
			err = w.readData()
		default:
			if _, known := w.children[name]; known {
				err = w.readChild(name)
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case changed[ofExists]:
		return w.readAll()
	case changed[ofChildren]: // last, because it keeps children whose data is known
		return w.readChildren()
	}
	return nil
}

// about is err with the node that it is about, if it is about one: the user may not read it, say.
func about(path string, err error) error {
	if errors.Is(err, zk.ErrNoAuth) {
		return fmt.Errorf("cannot read node %q: %w", path, err)
	}
	return err
}

// readAll reads a node that no watch is at.
func (w *watcher) readAll() error {
	there, _, event, err := w.ExistsW(w.path)
	if err != nil {
		return about(w.path, err)
	}
	if !there {
		go w.notify(ofExists, event)
		return nil
	}
	if err := w.readData(); err != nil {
		return err
	}
	return w.readChildren()
}

// readData reads the data of the node. Without a node there is nothing: the watch of the children
// sees that, too, and waits for another one.
func (w *watcher) readData() error {
	data, stat, event, err := w.GetW(w.path)
	if errors.Is(err, zk.ErrNoNode) {
		w.data = nil
		return nil
	}
	if err != nil {
		return about(w.path, err)
	}
	go w.notify(ofData, event)
	w.data = data
	w.changed = max(w.changed, stat.Mzxid)
	return nil
}

// readChildren reads which children there are, and those that are new.
func (w *watcher) readChildren() error {
	names, stat, event, err := w.ChildrenW(w.path)
	if errors.Is(err, zk.ErrNoNode) {
		w.data, w.children = nil, nil
		return w.readAll()
	}
	if err != nil {
		return about(w.path, err)
	}
	go w.notify(ofChildren, event)
	w.changed = max(w.changed, stat.Pzxid)
	before := w.children
	w.children = make(map[string]child, len(names))
	for _, name := range names {
		if c, known := before[name]; known {
			w.children[name] = c
			continue
		}
		if err := w.readChild(name); err != nil {
			return err
		}
	}
	return nil
}

// readChild reads what a child has. One that is gone meanwhile is forgotten.
func (w *watcher) readChild(name string) error {
	data, stat, event, err := w.GetW(w.path + "/" + name)
	if errors.Is(err, zk.ErrNoNode) {
		delete(w.children, name)
		return nil
	}
	if err != nil {
		return about(w.path+"/"+name, err)
	}
	go w.notify(name, event)
	w.children[name] = child{name, data}
	w.changed = max(w.changed, stat.Mzxid)
	return nil
}
