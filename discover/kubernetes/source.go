package kubernetes

import (
	"context"

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
		var of []slice
		for _, one := range all {
			of = append(of, one)
		}
		found, usable, bad := s.endpoints(of)
		if err := s.complaints.Judge("slices", usable, bad); err != nil {
			return err
		}
		report(found)
		return nil
	})
}
