package kubernetes

import (
	"context"

	discoveryv1 "k8s.io/api/discovery/v1"

	"weir/discover"
	"weir/lb"
)

// source finds the endpoints of one Service.
type source struct {
	server
	choice
	complaints *discover.Complaints
}

// Run reports the endpoints in the slices of the Service.
func (s *source) Run(ctx context.Context, report func([]lb.Endpoint)) error {
	return s.follow(ctx, s.changed(report))
}

// changed returns what reports the endpoints in slices.
func (s *source) changed(report func([]lb.Endpoint)) func([]*discoveryv1.EndpointSlice) error {
	return func(all []*discoveryv1.EndpointSlice) error {
		found, usable, bad := s.endpoints(all)
		if err := s.complaints.Judge("slices", usable, bad); err != nil {
			return err
		}
		report(found)
		return nil
	}
}
