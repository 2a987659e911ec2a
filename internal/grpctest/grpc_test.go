package grpctest_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"weir/config"
	"weir/internal/testkit"
	"weir/server"
)

// service answers calls of all four kinds.
type service struct {
	pb.UnimplementedTestServiceServer
	name  string
	calls atomic.Int64
	// fails, if it is not nil, says what a unary call fails with.
	fails func() error
	// wait, if it is not nil, is waited for by unary calls.
	wait chan struct{}
	// canceled gets a value when a call that waits is canceled.
	canceled chan struct{}
}

func (s *service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	s.calls.Add(1)
	if s.wait != nil {
		select {
		case <-s.wait:
		case <-ctx.Done():
			s.canceled <- struct{}{}
			return nil, ctx.Err()
		}
	}
	if s.fails != nil {
		if err := s.fails(); err != nil {
			return nil, err
		}
	}
	if in, _ := metadata.FromIncomingContext(ctx); len(in.Get("x-echo-bin")) > 0 {
		grpc.SetHeader(ctx, metadata.Pairs("x-echo-bin", in.Get("x-echo-bin")[0]))
		grpc.SetTrailer(ctx, metadata.Pairs("x-trail-bin", in.Get("x-echo-bin")[0]))
	}
	return &pb.SimpleResponse{Payload: r.Payload, ServerId: s.name}, nil
}

func (s *service) StreamingOutputCall(r *pb.StreamingOutputCallRequest, out grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	for _, p := range r.ResponseParameters {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.Size)}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) StreamingInputCall(in grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	size := 0
	for {
		r, err := in.Recv()
		if err == io.EOF {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		size += len(r.Payload.Body)
	}
}

func (s *service) FullDuplexCall(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	for {
		r, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := both.Send(&pb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
}

// origin is a server of gRPC.
type origin struct {
	*service
	*grpc.Server
	url    string
	health *health.Server
}

func newOrigin(t testing.TB, name string, secure *tls.Config) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", testkit.Reserve(t)) // so that no other test is there after Stop
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, name, ln, secure)
}

func serve(t testing.TB, name string, ln net.Listener, secure *tls.Config) *origin {
	var options []grpc.ServerOption
	scheme := "http" // as gRPC needs HTTP/2, weir speaks it
	if secure != nil {
		options, scheme = append(options, grpc.Creds(credentials.NewTLS(secure))), "https"
	}
	o := &origin{service: &service{name: name, canceled: make(chan struct{}, 100)}, Server: grpc.NewServer(options...), url: scheme + "://" + ln.Addr().String(), health: health.NewServer()}
	pb.RegisterTestServiceServer(o.Server, o.service)
	healthpb.RegisterHealthServer(o.Server, o.health)
	reflection.Register(o.Server)
	go o.Serve(ln)
	t.Cleanup(o.Stop)
	return o
}

// log keeps the lines of the access log.
type log struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// weir is a server under test and a client of it.
type weir struct {
	*server.Server
	pb.TestServiceClient
	conn *grpc.ClientConn
	text string
	log  *log
}

// through starts weir with settings of the upstream in front of targets, and connects to it by TLS,
// or without.
func through(t testing.TB, secure bool, settings string, targets ...string) *weir {
	t.Helper()
	authority := testkit.NewAuthority(t)
	pair := authority.Issue("weir.test")
	listener := fmt.Sprintf("certificates = [{ cert = %q, key = %q }]", pair.Cert, pair.Key)
	creds := credentials.NewTLS(&tls.Config{RootCAs: authority.Pool, ServerName: "weir.test"})
	if !secure {
		listener, creds = `protocols = ["h1", "h2c"]`, insecure.NewCredentials()
	}
	w := &weir{log: &log{}}
	w.text = fmt.Sprintf("[access_log]\nformat = \"{status} {grpc_status} {cause}\"\n[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n%s\n[[routes]]\nname = \"all\"\nupstream = \"origin\"\n[upstreams.origin]\ntargets = [\"%s\"]\n%s\n",
		listener, strings.Join(targets, `", "`), settings)
	cfg := w.config(t)
	var err error
	if w.Server, err = server.New(cfg, server.WithAccessLogWriter(w.log), server.WithLog(slog.New(slog.DiscardHandler))); err != nil {
		t.Fatal(err)
	}
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if w.conn, err = grpc.NewClient(w.Addr("main").String(), grpc.WithTransportCredentials(creds)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	w.TestServiceClient = pb.NewTestServiceClient(w.conn)
	return w
}

func (w *weir) config(t testing.TB) *config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(w.text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// metric is the value of a series.
func (w *weir) metric(series string) string {
	var b strings.Builder
	w.WriteMetrics(&b)
	for line := range strings.Lines(b.String()) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (w *weir) counts(t testing.TB, series, want string) {
	t.Helper()
	testkit.Eventually(t, series+" is "+want, func() bool { return w.metric(series) == want })
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Limit)
	t.Cleanup(cancel)
	return ctx
}

func payload(n int) *pb.Payload { return &pb.Payload{Body: make([]byte, n)} }

func hasCode(t testing.TB, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v (%v), want %v", what, got, err, want)
	}
}

// Calls of all four kinds pass, over TLS and without, with metadata in both directions, and so does
// reflection.
func TestKinds(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls ", secure), func(t *testing.T) {
			t.Parallel()
			var cfg *tls.Config
			if secure {
				cfg = &tls.Config{Certificates: []tls.Certificate{authority.Issue("127.0.0.1").Certificate}}
			}
			o := newOrigin(t, "one", cfg)
			w := through(t, secure, fmt.Sprintf("tls.ca = %q", authority.File), o.url)
			ctx := metadata.AppendToOutgoingContext(limited(t), "x-echo-bin", "\x00\xff")
			var header, trailer metadata.MD
			r, err := w.UnaryCall(ctx, &pb.SimpleRequest{Payload: payload(100_000)}, grpc.Header(&header), grpc.Trailer(&trailer))
			if err != nil || len(r.Payload.Body) != 100_000 {
				t.Fatalf("%v: %v", err, r)
			}
			if fmt.Sprint(header.Get("x-echo-bin"), trailer.Get("x-trail-bin")) != fmt.Sprint([]string{"\x00\xff"}, []string{"\x00\xff"}) {
				t.Errorf("metadata is %v and %v", header, trailer)
			}
			out, err := w.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 10}, {Size: 200_000}, {Size: 0}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{10, 200_000, 0} {
				if r, err := out.Recv(); err != nil || len(r.Payload.Body) != want {
					t.Fatalf("%v: %d bytes", err, len(r.GetPayload().GetBody()))
				}
			}
			if _, err := out.Recv(); err != io.EOF {
				t.Errorf("the end is %v", err)
			}
			in, err := w.StreamingInputCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for range 10 {
				if err := in.Send(&pb.StreamingInputCallRequest{Payload: payload(30_000)}); err != nil {
					t.Fatal(err)
				}
			}
			if r, err := in.CloseAndRecv(); err != nil || r.AggregatedPayloadSize != 300_000 {
				t.Fatalf("%v: %v", err, r)
			}
			both, err := w.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				if err := both.Send(&pb.StreamingOutputCallRequest{Payload: payload(i)}); err != nil {
					t.Fatal(err)
				}
				if r, err := both.Recv(); err != nil || len(r.Payload.Body) != i {
					t.Fatalf("%v: %v", err, r)
				}
			}
			both.CloseSend()
			if _, err := both.Recv(); err != io.EOF {
				t.Errorf("the end is %v", err)
			}
			list, err := reflectionpb.NewServerReflectionClient(w.conn).ServerReflectionInfo(ctx)
			if err != nil {
				t.Fatal(err)
			}
			list.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
			if r, err := list.Recv(); err != nil || len(r.GetListServicesResponse().GetService()) < 3 {
				t.Errorf("%v: reflection says %v", err, r)
			}
			list.CloseSend()
			list.Recv()
			w.counts(t, `weir_grpc_calls_total{route="all",code="OK"}`, "5")
		})
	}
}

// A call without a message ends by a frame of its own: a server of grpc-go that gets the end with the head waits for it
// for ever. A buffered request is known to be whole before its head is sent.
func TestNoMessages(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	w := through(t, false, "", o.url)
	check := func(what string, calls int) {
		t.Helper()
		for range calls {
			in, err := w.StreamingInputCall(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := in.CloseAndRecv(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	check("streamed", 100)
	w.text = strings.Replace(w.text, "upstream = ", "buffer_request = \"64KiB\"\nupstream = ", 1)
	if err := w.Reload(w.config(t)); err != nil {
		t.Fatal(err)
	}
	check("buffered", 1)
}

// What the target says of a call reaches the client, the metrics and the log; what weir itself says
// is a status of gRPC, too.
func TestStatuses(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	o.fails = func() error { return status.Error(codes.NotFound, "no such thing") }
	w := through(t, true, "", o.url)
	_, err := w.UnaryCall(limited(t), &pb.SimpleRequest{})
	hasCode(t, "the call", err, codes.NotFound)
	if !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("the error is %v", err)
	}
	w.counts(t, `weir_grpc_calls_total{route="all",code="NOT_FOUND"}`, "1")
	o.Stop()
	w.counts(t, fmt.Sprintf(`weir_upstream_connections{upstream="origin",target=%q,state="open"}`, o.url), "0")
	_, err = w.UnaryCall(limited(t), &pb.SimpleRequest{})
	hasCode(t, "a call without a target", err, codes.Unavailable)
	if !strings.Contains(err.Error(), "weir: connect_failed") {
		t.Errorf("the error is %v", err)
	}
	w.counts(t, `weir_grpc_calls_total{route="all",code="UNAVAILABLE"}`, "1")
	testkit.Eventually(t, "the log has both", func() bool {
		w.Reopen()
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		return w.log.all.String() == "200 NOT_FOUND ok\n200 UNAVAILABLE connect_failed\n"
	})
	none := through(t, true, "[[routes]]\npath = \"/other\"\nrespond = {}\n", o.url)
	none.text = strings.Replace(none.text, "name = \"all\"", "name = \"all\"\npath = \"/none\"", 1)
	if err := none.Reload(none.config(t)); err != nil {
		t.Fatal(err)
	}
	_, err = none.UnaryCall(limited(t), &pb.SimpleRequest{})
	hasCode(t, "a call that no route takes", err, codes.Unimplemented)
}

// A call's deadline ends it, at the target too, and a client that goes away does.
func TestDeadline(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	o.wait = make(chan struct{})
	w := through(t, false, "", o.url)
	// A client that does not look at its own clock.
	c := testkit.DialFrames(t, w.Addr("main"), nil)
	c.Post(1, "/grpc.testing.TestService/UnaryCall", "content-type: application/grpc", "te: trailers", "grpc-timeout: 3S")
	c.Data(1, true, "\x00\x00\x00\x00\x00")
	testkit.Eventually(t, "the call is at the target", func() bool { return o.calls.Load() == 1 })
	if a := c.Whole(1); a.Status() != "200" || a.Field("grpc-status") != "4" || a.Field("grpc-message") == "" || a.Trailer != "" {
		t.Errorf("a late call: %+v", a)
	}
	<-o.canceled
	ctx, cancel := context.WithCancel(limited(t))
	go func() {
		for o.calls.Load() < 2 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := w.UnaryCall(ctx, &pb.SimpleRequest{})
	hasCode(t, "a call that was given up", err, codes.Canceled)
	<-o.canceled
}

// A call that breaks off after its answer has begun is counted with the status that its client makes of the reset.
func TestBrokenCalls(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	w := through(t, false, "", o.url)
	c := testkit.DialFrames(t, w.Addr("main"), nil)
	stream := uint32(1)
	check := func(what, timeout string, breakOff func(), wantReset h2.ErrCode, wantCode string) {
		t.Helper()
		c.Post(stream, "/grpc.testing.TestService/FullDuplexCall", "content-type: application/grpc", "te: trailers", "grpc-timeout: "+timeout)
		c.Data(stream, false, "\x00\x00\x00\x00\x00")
		c.Until(stream, "a message", func(a *testkit.Answered) bool { return len(a.Body) == 5 })
		breakOff()
		if wantReset != h2.ErrCodeNo {
			if a := c.Until(stream, "the end", func(a *testkit.Answered) bool { return a.Ended || a.Reset >= 0 }); a.Reset != int(wantReset) {
				t.Errorf("%s: %+v, want a reset with %v", what, a, wantReset)
			}
		}
		w.counts(t, fmt.Sprintf("weir_grpc_calls_total{route=\"all\",code=%q}", wantCode), "1")
		stream += 2
	}
	check("the client resets it", "1H", func() { c.Reset(stream, h2.ErrCodeCancel) }, h2.ErrCodeNo, "CANCELLED")
	check("its deadline passes", "3S", func() {}, h2.ErrCodeCancel, "DEADLINE_EXCEEDED")
	check("its target dies", "1H", o.Stop, h2.ErrCodeInternal, "INTERNAL")
}

// UNAVAILABLE is a failure of the target: it is retried where retry.on names it, and ejects.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	bad, good := newOrigin(t, "bad", nil), newOrigin(t, "good", nil)
	bad.fails = func() error { return status.Error(codes.Unavailable, "busy") }
	w := through(t, true, "retry = { on = [\"connect\", \"reset\", \"unavailable\"], budget = 1.0 }\nhealth.passive.failures = 3\n", bad.url, good.url)
	for range 20 {
		r, err := w.UnaryCall(limited(t), &pb.SimpleRequest{})
		if err != nil || r.ServerId != "good" {
			t.Fatalf("%v: %v", err, r)
		}
	}
	// Calls, which cannot be repeated, pass a target by that is in doubt.
	if n := bad.calls.Load(); n == 0 || n > 3 {
		t.Errorf("the bad target got %d calls, want 1 to 3", n)
	}
	// Without that, the client gets it, because the target may have acted.
	w = through(t, true, "health.passive.failures = 3\n", bad.url, good.url)
	failed := 0
	for range 20 {
		if _, err := w.UnaryCall(limited(t), &pb.SimpleRequest{}); err != nil {
			hasCode(t, "the call", err, codes.Unavailable)
			failed++
		}
	}
	if failed == 0 || failed > 3 {
		t.Errorf("%d calls failed, want 1 to 3", failed)
	}
}

// A target that says NOT_SERVING gets no calls.
func TestHealth(t *testing.T) {
	t.Parallel()
	one, two := newOrigin(t, "one", nil), newOrigin(t, "two", nil)
	one.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	w := through(t, true, "health = { probe = \"grpc\", wait = \"10s\", interval = \"20ms\" }\n", one.url, two.url)
	for range 10 {
		if r, err := w.UnaryCall(limited(t), &pb.SimpleRequest{}); err != nil || r.ServerId != "two" {
			t.Fatalf("%v: %v", err, r)
		}
	}
	one.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	testkit.Eventually(t, "the first target is back", func() bool {
		r, err := w.UnaryCall(limited(t), &pb.SimpleRequest{})
		return err == nil && r.ServerId == "one"
	})
}

// Calls go on while weir is reloaded, and while targets stop and start: none is lost.
func TestReloadsAndStops(t *testing.T) {
	t.Parallel()
	one, two := newOrigin(t, "one", nil), newOrigin(t, "two", nil)
	w := through(t, true, "", one.url, two.url)
	stop := make(chan struct{})
	var calls atomic.Int64
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := w.UnaryCall(limited(t), &pb.SimpleRequest{Payload: payload(1000)}); err != nil {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	both, err := w.FullDuplexCall(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	after := func(n int64) {
		t.Helper()
		n += calls.Load()
		testkit.Eventually(t, "calls go on", func() bool { return calls.Load() >= n })
		if err := both.Send(&pb.StreamingOutputCallRequest{Payload: payload(1)}); err != nil {
			t.Fatal(err)
		}
		if _, err := both.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		after(50)
		w.text = strings.Replace(w.text, fmt.Sprintf("# %d", i), "", 1) + fmt.Sprintf("# %d", i+1)
		if err := w.Reload(w.config(t)); err != nil {
			t.Fatal(err)
		}
	}
	after(20)
	both.CloseSend()
	if _, err := both.Recv(); err != io.EOF {
		t.Error(err)
	}
	one.GracefulStop()
	enough := calls.Load() + 50
	testkit.Eventually(t, "50 more calls were made", func() bool { return calls.Load() >= enough })
	close(stop)
	running.Wait()
}

// Streams that are silent in both directions for longer than any limit of silence go on. The limits
// of what weir, client and target do then are long, because a busy machine is slow.
func TestSilence(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	w := through(t, true, "timeouts = { idle = \"50ms\" }\nconnections = { idle = \"50ms\" }\n", o.url)
	w.text = strings.Replace(w.text, "[[routes]]", "timeouts = { idle = \"1s\" }\n[[routes]]", 1)
	if err := w.Reload(w.config(t)); err != nil {
		t.Fatal(err)
	}
	both, err := w.FullDuplexCall(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		// Longer than the limits, several times, and than the look at clients that comes every half second.
		timer := time.NewTimer(2200 * time.Millisecond)
		<-timer.C
		if err := both.Send(&pb.StreamingOutputCallRequest{Payload: payload(1)}); err != nil {
			_, err := both.Recv() // has the reason
			t.Fatal(err)
		}
		if _, err := both.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	both.CloseSend()
	if _, err := both.Recv(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
