package kubernetes

import (
	"context"
	"maps"
	"slices"

	"weir/discover"
	"weir/lb"
)

// source finds the endpoints of one Service.
type source struct {
	reflector
	choice
	complaints *discover.Complaints
}

// Run reports the endpoints in the slices of the Service.
func (s *source) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.follow(ctx, func(all map[string]slice) error {
		found, usable, bad := s.endpoints(slices.Collect(maps.Values(all)))
		if err := s.complaints.Judge("slices", usable, bad); err != nil {
			return err
		}
		report(found)
		return nil
	})
}
