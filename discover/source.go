package discover

import (
	"context"

	"weir/lb"
)

// Source finds the endpoints of an upstream: by asking a name server or a registry, or by
// reading a file.
type Source interface {
	// Run calls report with all endpoints when it knows them, and again with all of them
	// each time that something has changed, until ctx ends. The list may be empty, and
	// says nothing by its order; report keeps nothing of it and does not wait for long. A
	// report of the same endpoints says that they were seen again: a source reports
	// whenever it has confirmed its list, at least every half minute.
	//
	// Run returns soon after ctx has ended; what it returns then is not looked at. Before that, an error
	// says that the source failed: what was reported stays, and Run is called again later. nil
	// says that nothing will change any more: what was reported stays for good.
	//
	// Run is not called again before it has returned. It may be called again after ctx
	// has ended, with another one.
	Run(ctx context.Context, report func(endpoints []lb.Endpoint)) error
}

// Spec is a source that a configuration asks for.
type Spec struct {
	// ID tells the source apart: one of the same ID in the next configuration is the same
	// one. It has all settings in it that make a difference to the source.
	ID string
	// Name is the source's name in logs and metrics, without secrets; empty means ID.
	Name string
	// Source must not have been started; it is not used if one of the same ID runs.
	Source Source
	// Exact says that the source is right when it finds nothing.
	Exact bool
	// Weight multiplies the weights that the source reports; below 1 counts as 1. Priority
	// is added to their priorities. Drain drains all that it reports.
	Weight   int
	Priority int
	Drain    bool
	// Shared says that all endpoints together have the weight, in equal parts, and that the source
	// itself sees to it that they do not come and go.
	Shared bool
	// Rejected says how many endpoints Source left out of its last report; nil means none.
	Rejected func() int
}
