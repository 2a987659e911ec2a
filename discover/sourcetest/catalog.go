package sourcetest

import (
	"context"
	"errors"

	"weir/discover"
)

// FakeCatalog is a catalog that reports what the test sends, and fails at nil.
type FakeCatalog chan []discover.Entry

// Run implements discover.Catalog.
func (c FakeCatalog) Run(ctx context.Context, report func([]discover.Entry)) error {
	for {
		select {
		case list := <-c:
			if list == nil {
				return errors.New("the registry is gone")
			}
			report(list)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
