package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"weir/discover"
)

const (
	// answerWithin bounds an answer to a request for a list, and the beginning of one to a watch.
	answerWithin = 10 * time.Second
	// longest is how many bytes a part of a list may have, and a watch.
	longest = 64 << 20
)

// endpointSlices is what is needed of the interface of this name in client-go's clientset. The clientset itself has all
// kinds of objects, and would add 13 MB more to the program than client does.
type endpointSlices interface {
	List(ctx context.Context, options metav1.ListOptions) (*discoveryv1.EndpointSliceList, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// client asks the API server for the EndpointSlices of a namespace.
type client struct {
	*rest.RESTClient
	namespace  string
	parameters runtime.ParameterCodec
}

// kinds returns the scheme of client-go that has EndpointSlices alone. The first call makes client-go log nothing: it would
// write to the standard error, and what fails is an error that Run returns.
var kinds = sync.OnceValues(func() (*runtime.Scheme, error) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	s := runtime.NewScheme()
	return s, discoveryv1.AddToScheme(s)
})

// newClient returns a client of the API server at a URL, which sends requests by transport.
func newClient(api, namespace string, transport http.RoundTripper) (*client, error) {
	scheme, err := kinds()
	if err != nil {
		return nil, err
	}
	c := &rest.Config{
		Host: api, APIPath: "/apis",
		QPS: -1, // no limit: a request waits for the answer to the one before
		ContentConfig: rest.ContentConfig{
			GroupVersion: &discoveryv1.SchemeGroupVersion, NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
		},
		WarningHandler: rest.NoWarnings{},
	}
	// API servers do not redirect: what does has no use for the token.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r, err := rest.RESTClientForConfigAndClient(c, &http.Client{Transport: transport, CheckRedirect: stay})
	if err != nil {
		return nil, err
	}
	return &client{r, namespace, runtime.NewParameterCodec(scheme)}, nil
}

// get returns a GET for the slices. client-go does not send it again: weir does, after an error that Run returns.
func (c *client) get(options metav1.ListOptions) *rest.Request {
	return c.Get().Namespace(c.namespace).Resource("endpointslices").VersionedParams(&options, c.parameters).MaxRetries(0)
}

// List asks for the slices, or a part of them.
func (c *client) List(ctx context.Context, options metav1.ListOptions) (*discoveryv1.EndpointSliceList, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	list := &discoveryv1.EndpointSliceList{}
	return list, c.get(options).Do(ctx).Into(list)
}

// Watch asks for what changes.
func (c *client) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	return c.get(options).Watch(ctx)
}

// explained says in an error that it is the API server that refuses, and when it wants to be asked again.
func explained(err error) error {
	if refusal, ok := errors.AsType[*apierrors.StatusError](err); ok {
		s := refusal.Status()
		err = fmt.Errorf("the API server answers %d %s: %s", s.Code, http.StatusText(int(s.Code)), s.Message)
		if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
			err = discover.RetryAfter(err, strconv.Itoa(int(s.Details.RetryAfterSeconds)))
		}
		return err
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return err // without an answer
	}
	return fmt.Errorf("the API server's answer cannot be read: %w", err)
}
