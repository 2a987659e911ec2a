package kubernetes_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"weir/discover/kubernetes"
	"weir/discover/kubernetes/kubetest"
	"weir/discover/sourcetest"
	"weir/internal/testkit"
)

// The tests of this file do not run in parallel with others, because they look at the whole process.

// own are the goroutines of client-go, and those of weir that have to do with it.
var own = regexp.MustCompile(`k8s\.io/|weir/discover/kubernetes\.`)

// goroutines returns how many goroutines are in the code of client-go or for it.
func goroutines() int {
	text := make([]byte, 4<<20)
	n := 0
	for _, stack := range regexp.MustCompile(`\n\n`).Split(string(text[:runtime.Stack(text, true)]), -1) {
		if own.MatchString(stack) {
			n++
		}
	}
	return n
}

// What a source began has ended when it has ended: while it watches, while it waits for a list, and after a failure.
func TestNothingStays(t *testing.T) {
	before := goroutines()
	t.Run("", func(t *testing.T) {
		s := start(t)
		s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
		source(t, shopOnly+s.Addr).Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
		sourcetest.Catalog(t, kubernetes.Scheme(), "kubernetes:default/*:http?api=http://"+s.Addr).Sees("shop http://10.0.0.1:8080")
		if goroutines() == before {
			t.Error("no goroutine is seen while sources run")
		}
		<-source(t, "kubernetes:default/shop:grpc?api=http://"+s.Addr).Ended
		asked, release := make(chan struct{}), make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(asked); <-release }))
		t.Cleanup(func() { close(release); slow.Close() })
		source(t, shopOnly+slow.Listener.Addr().String())
		<-asked
	})
	testkit.Eventually(t, "the goroutines of all sources have ended", func() bool { return goroutines() <= before })
}

// client-go writes nothing to the standard error, whatever fails.
func TestWritesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = f
	defer func() { os.Stderr = stderr }()
	t.Run("", func(t *testing.T) {
		s := start(t)
		s.Put("a", 8080, `{"addresses": ["10.0.0.1"]}`)
		r := source(t, shopOnly+s.Addr)
		r.Sees("[{http://10.0.0.1:8080 1 0 false 0}]")
		s.Forget()
		s.Put("a", 8081, `{"addresses": ["10.0.0.1"]}`)
		r.Sees("[{http://10.0.0.1:8081 1 0 false 0}]")
		s.Send("MODIFIED", "text")
		<-r.Ended
		for _, code := range []int{http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusGatewayTimeout} {
			s.Refuse(func(*http.Request) *kubetest.Refusal {
				return &kubetest.Refusal{Code: code, Message: "no", RetryAfter: "1"}
			})
			<-source(t, shopOnly+s.Addr).Ended
		}
		s.Break(true)
		<-source(t, shopOnly+s.Addr).Ended
		cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
		}))
		t.Cleanup(cut.Close)
		<-source(t, shopOnly+cut.Listener.Addr().String()).Ended
	})
	os.Stderr = stderr
	f.Close()
	if text, err := os.ReadFile(path); err != nil || len(text) > 0 {
		t.Errorf("client-go wrote %q, %v", text, err)
	}
}
