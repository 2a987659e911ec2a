package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"weir/discover"
)

const (
	// watchFor is how long a watch lasts; the next one begins where it has ended, which proves that the server is there.
	watchFor = 25 * time.Second
	// grace is how much longer than that the server may take to end it.
	grace = 5 * time.Second
	// pause is the least time from a watch whose version has expired to the next list.
	pause = 100 * time.Millisecond
	// gather is how long changes are gathered before they are reported.
	gather = 100 * time.Millisecond
)

// follow calls changed with all slices that have the labels, when they are known, after changes and whenever a watch begins.
// It ends with the error of changed, too.
//
// A Reflector of client-go lists the slices, watches, and goes on watching where a watch has ended. It would log what fails
// and try again; here what fails ends it, so that the reason is known to weir.
func follow(ctx context.Context, from endpointSlices, labels string, changed func([]*discoveryv1.EndpointSlice) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c := &sliceStore{Store: cache.NewStore(cache.MetaNamespaceKeyFunc), news: make(chan struct{}, 1)}
	r := &reflector{from: from, labels: labels, store: c, fail: fail}
	go func() {
		defer close(c.news)
		r.run(ctx)
	}()
	var wait time.Duration // the first list is reported at once
	for range c.news {
		discover.Sleep(ctx, wait)
		wait = gather
		if err := changed(c.all()); err != nil {
			fail(err)
		}
	}
	return context.Cause(ctx)
}

// sliceStore is the copy of the slices that a Reflector keeps.
type sliceStore struct {
	cache.Store
	news chan struct{} // has an element if there is something to report
}

func (s *sliceStore) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *sliceStore) Add(slice any) error    { defer s.tell(); return s.Store.Add(slice) }
func (s *sliceStore) Update(slice any) error { defer s.tell(); return s.Store.Update(slice) }
func (s *sliceStore) Delete(slice any) error { defer s.tell(); return s.Store.Delete(slice) }
func (s *sliceStore) Bookmark(string) error  { s.tell(); return nil }

func (s *sliceStore) Replace(slices []any, version string) error {
	defer s.tell()
	return s.Store.Replace(slices, version)
}

// all returns the slices.
func (s *sliceStore) all() []*discoveryv1.EndpointSlice {
	list := s.List()
	all := make([]*discoveryv1.EndpointSlice, len(list))
	for i, one := range list {
		all[i] = one.(*discoveryv1.EndpointSlice)
	}
	return all
}

// reflector asks the API server for a Reflector of client-go.
type reflector struct {
	from   endpointSlices
	labels string
	store  *sliceStore
	fail   context.CancelCauseFunc // ends follow
	// expired is set when the server has forgotten the version from which it is to watch.
	expired atomic.Bool
}

// run keeps the copy as the API server has it, until ctx ends.
func (r *reflector) run(ctx context.Context) {
	lists := inParts{&cache.ListWatch{ListWithContextFunc: r.list, WatchFuncWithContext: r.watch}}
	reflected := cache.NewReflectorWithOptions(lists, &discoveryv1.EndpointSlice{}, r.store, cache.ReflectorOptions{Name: "weir"})
	for ctx.Err() == nil {
		err := reflected.ListAndWatchWithContext(ctx)
		switch {
		case r.expired.Swap(false):
			discover.Sleep(ctx, pause)
		case err != nil:
			r.fail(explained(err))
		default:
			r.fail(errors.New("the API server ended the watch at once"))
		}
	}
}

// inParts makes a Reflector list before it watches, in parts of 500 slices. The other way, a watch that begins with all that
// there is, would not end at a server that does not know it.
type inParts struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported is what client-go asks.
func (inParts) IsWatchListSemanticsUnSupported() bool { return true }

// list asks for a part of the slices.
func (r *reflector) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	options.LabelSelector = r.labels
	if options.ResourceVersion == "0" {
		options.ResourceVersion = "" // not what a server that is behind the others remembers
	}
	list, err := r.from.List(ctx, options)
	switch {
	case err == nil && list.ResourceVersion == "":
		err = errors.New("it is no list of EndpointSlices")
		fallthrough
	case err != nil && !isExpired(err): // otherwise the Reflector lists once more
		r.fail(explained(err))
	}
	return list, err
}

// watch asks for what changes.
func (r *reflector) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.LabelSelector = r.labels
	options.TimeoutSeconds = new(int64(watchFor / time.Second))
	ctx, cancel := context.WithTimeout(ctx, watchFor+grace)
	from, err := r.from.Watch(ctx, options)
	if err != nil {
		cancel()
		if isExpired(err) {
			r.expired.Store(true)
		} else {
			r.fail(explained(err))
		}
		return nil, err
	}
	r.store.tell() // the server is there, and nothing has changed
	w := &checkedWatch{from, cancel, make(chan watch.Event)}
	go func() {
		defer close(w.events)
		for e := range from.ResultChan() {
			if err := r.check(e); err != nil {
				r.fail(err)
				return
			}
			select {
			case w.events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w, nil
}

// check returns what is wrong with an event.
func (r *reflector) check(e watch.Event) error {
	if e.Type == watch.Error {
		err := apierrors.FromObject(e.Object)
		if isExpired(err) {
			r.expired.Store(true)
			return nil
		}
		return fmt.Errorf("an event of the API server ended the watch: %w", err)
	}
	slice, ok := e.Object.(*discoveryv1.EndpointSlice)
	if !ok || slice.ResourceVersion == "" || slice.Name == "" && e.Type != watch.Bookmark {
		return fmt.Errorf("an event of the API server, %s, is about a %T without name or resourceVersion", e.Type, e.Object)
	}
	return nil
}

func isExpired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

// checkedWatch has the events of a watch that may be used.
type checkedWatch struct {
	watch.Interface
	cancel context.CancelFunc
	events chan watch.Event
}

func (w *checkedWatch) ResultChan() <-chan watch.Event { return w.events }

func (w *checkedWatch) Stop() {
	w.Interface.Stop()
	w.cancel()
}
