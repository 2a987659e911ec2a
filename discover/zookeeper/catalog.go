package zookeeper

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-zookeeper/zk"

	"weir/discover"
)

// catalog finds the endpoints of many services: nodes NAME/VERSION/ID below the path.
type catalog struct {
	place
	url string
	log *slog.Logger
}

// levels is how many levels of nodes there are between the path and an endpoint: names and versions.
const levels = 2

// Run reports all entries below the path.
func (c *catalog) Run(ctx context.Context, report func([]discover.Entry)) error {
	return c.connected(ctx, func(ctx context.Context, conn *zk.Conn, events <-chan zk.Event) error {
		return (&level{catalog: c, conn: conn, events: events, left: levels}).Run(ctx, report)
	})
}

// level is a node of the tree, whose children are of one kind.
type level struct {
	*catalog
	conn *zk.Conn
	// events say whether the connection lives; nil below the path, because one listener is enough.
	events <-chan zk.Event
	// below is the path below that of the catalog, such as "/shop/v1".
	below string
	// left is how many levels are left until endpoints.
	left int
}

// Run reports the entries below the node.
func (l *level) Run(ctx context.Context, report func([]discover.Entry)) error {
	if l.left == 0 {
		complaints := discover.NewComplaints(l.log, l.url)
		return watch(ctx, l.conn, l.events, l.path+l.below, func(found *node) error {
			list, bad := l.entries(found)
			complaints.Tell(bad) // and no failure: the other services of the catalog count
			report(list)
			return nil
		})
	}
	children := discover.NewMerged(nil) // the connection's end says why its watches fail
	return children.RunWith(ctx, report, func(ctx context.Context) error {
		return watch(ctx, l.conn, l.events, l.path+l.below, func(found *node) error {
			var names []string
			for _, c := range found.sorted() {
				names = append(names, c.name)
			}
			children.Set(names, func(name string) discover.Catalog {
				return &level{catalog: l.catalog, conn: l.conn, below: l.below + "/" + name, left: l.left - 1}
			})
			return nil
		})
	})
}

// entries returns the endpoints of a service that can be used.
func (l *level) entries(found *node) (list []discover.Entry, bad []error) {
	return discover.Usable(found.sorted(), func(c child) (discover.Entry, error) {
		e, err := discover.ParseEntry(strings.TrimPrefix(l.below+"/"+c.name, "/"), c.data)
		if err != nil {
			err = fmt.Errorf("node %w", err)
		}
		return e, err
	})
}
