//go:build clientset

// The clientset knows all kinds of objects, and takes minutes to build with the race detector: "make test-all" runs this
// test by itself, without.

package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/typed/discovery/v1/fake"
	clienttesting "k8s.io/client-go/testing"

	"weir/discover"
	"weir/discover/sourcetest"
	"weir/lb"
)

// fakeSlices returns client-go's fake of the client for EndpointSlices, and a channel that gets an element
// when a watch has begun.
func fakeSlices(t *testing.T) (*clienttesting.Fake, *fake.FakeDiscoveryV1, chan struct{}) {
	t.Helper()
	scheme, err := kinds()
	if err != nil {
		t.Fatal(err)
	}
	tracker := clienttesting.NewObjectTracker(scheme, serializer.NewCodecFactory(scheme).UniversalDecoder())
	watched := make(chan struct{}, 10)
	f := &clienttesting.Fake{}
	f.AddReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		done, found, err := clienttesting.ObjectReaction(tracker)(a)
		if list, ok := found.(*discoveryv1.EndpointSliceList); ok {
			list.ResourceVersion = "1" // which the fake leaves out
		}
		return done, found, err
	})
	f.AddReactor("*", "*", clienttesting.ObjectReaction(tracker))
	f.AddWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := tracker.Watch(a.GetResource(), a.GetNamespace())
		watched <- struct{}{}
		return true, w, err
	})
	return f, &fake.FakeDiscoveryV1{Fake: f}, watched
}

// What is followed is what client-go's own clientset has, too.
func TestClientset(t *testing.T) {
	f, clientset, watched := fakeSlices(t)
	slices := clientset.EndpointSlices("default")
	u, err := url.Parse("kubernetes:default/shop:http")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := newSource(u, discover.SchemeOptions{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*source)
	run := func() *sourcetest.Run {
		return sourcetest.Follow(t, func(ctx context.Context, r *sourcetest.Run) error {
			return follow(ctx, slices, s.labels(), s.changed(func(list []lb.Endpoint) { r.Report(fmt.Sprint(list)) }))
		})
	}
	slice := func(name, service, address string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: name, ResourceVersion: "2", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}}},
		}
	}
	ctx := t.Context()
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(slices.Create(ctx, slice("a", "shop", "10.0.0.1"), metav1.CreateOptions{}))
	ok(slices.Create(ctx, slice("other", "cart", "10.0.0.9"), metav1.CreateOptions{}))
	r := run()
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
	<-watched
	ok(slices.Create(ctx, slice("b", "shop", "10.0.0.2"), metav1.CreateOptions{}))
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0} {http://10.0.0.2:8080 1 0 false 0}]")
	ok(slices.Update(ctx, slice("b", "shop", "10.0.0.3"), metav1.UpdateOptions{}))
	r.Sees("[{http://10.0.0.1:8080 1 0 false 0} {http://10.0.0.3:8080 1 0 false 0}]")
	ok(nil, slices.Delete(ctx, "a", metav1.DeleteOptions{}))
	r.Sees("[{http://10.0.0.3:8080 1 0 false 0}]")
	f.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("broken") })
	if err := <-run().Ended; err == nil || err.Error() != "the API server's answer cannot be read: broken" {
		t.Errorf("got %v", err)
	}
}
