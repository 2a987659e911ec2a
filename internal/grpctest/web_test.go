package grpctest_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir/internal/testkit"
)

// webWeir is a weir that translates calls of gRPC-Web, and a client of those.
type webWeir struct {
	*weir
	client *http.Client
	url    string
}

// web starts a weir that translates, reached by HTTP/1.1 or HTTP/2 over TLS. route are more keys of its
// route.
func web(t testing.TB, version int, route, settings string, targets ...string) *webWeir {
	t.Helper()
	w := through(t, true, settings, targets...)
	w.text = strings.Replace(w.text, "[upstreams.origin]", "grpc_web = true\n"+route+"\n[upstreams.origin]", 1)
	if err := w.Reload(w.config(t)); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: version == 2}
	t.Cleanup(transport.CloseIdleConnections)
	return &webWeir{weir: w, client: &http.Client{Transport: transport}, url: "https://" + w.Addr("main").String() + "/grpc.testing.TestService/"}
}

// answer is what came of a call of gRPC-Web.
type answer struct {
	*http.Response
	messages []string
	// trailer is the last frame, or the head if the call has no body.
	trailer textproto.MIMEHeader
	err     error
}

// code is the status of the call; -1 if there is none.
func (a *answer) code() string { return a.trailer.Get("grpc-status") }

// framed is a message in its frame.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// call makes a call. kind is the content type after "application/grpc-web"; body is what a binary form has. In
// the text form it goes out in pieces of cut bytes, each with a padding of its own.
func (w *webWeir) call(t testing.TB, method, kind string, body []byte, cut int, fields ...string) *answer {
	t.Helper()
	text := strings.HasPrefix(kind, "-text")
	var content io.Reader = bytes.NewReader(body)
	if text {
		in, out := io.Pipe()
		content = in
		go func() {
			for len(body) > 0 {
				n := min(cut, len(body))
				// Also the four characters of a unit come in two pieces.
				piece := base64.StdEncoding.EncodeToString(body[:n])
				io.WriteString(out, piece[:1])
				io.WriteString(out, piece[1:])
				body = body[n:]
			}
			out.Close()
		}()
	}
	r, err := http.NewRequestWithContext(limited(t), "POST", w.url+method, content)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc-web"+kind)
	r.Header.Set("X-Grpc-Web", "1")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Set(name, value)
	}
	a := &answer{}
	if a.Response, a.err = w.client.Do(r); a.err != nil {
		a.Response = new(http.Response) // a connection that was cut while the head was on its way
		return a
	}
	defer a.Body.Close()
	all, err := io.ReadAll(a.Body)
	a.err = err
	if len(a.Trailer) > 0 {
		t.Errorf("trailer fields %v came beside the body", a.Trailer)
	}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/grpc-web-text") {
		all = unpad(t, string(all))
	}
	a.read(t, all)
	return a
}

// unpad decodes base64 that may be several texts.
func unpad(t testing.TB, text string) (all []byte) {
	t.Helper()
	for ; len(text) >= 4; text = text[4:] {
		part, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		all = append(all, part...)
	}
	if text != "" {
		t.Errorf("%q is left of the text", text)
	}
	return all
}

// read takes a body apart.
func (a *answer) read(t testing.TB, body []byte) {
	t.Helper()
	if len(body) == 0 {
		if a.err == nil { // else the body was cut before its first byte
			a.trailer = textproto.MIMEHeader(a.Header)
		}
		return
	}
	for len(body) >= 5 {
		n := 5 + int(binary.BigEndian.Uint32(body[1:]))
		if n > len(body) || a.trailer != nil {
			if a.err == nil {
				t.Errorf("%q follows", body)
			}
			return
		}
		frame := body[5:n]
		switch body[0] {
		case 0:
			a.messages = append(a.messages, string(frame))
		case 0x80:
			a.trailer = textproto.MIMEHeader{}
			for line := range strings.Lines(string(frame)) {
				name, value, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), ": ")
				if name != strings.ToLower(name) || !strings.HasSuffix(line, "\r\n") {
					t.Errorf("the line %q of the trailer section", line)
				}
				a.trailer.Add(name, value)
			}
		default:
			t.Errorf("a frame with the flags %x", body[0])
		}
		body = body[n:]
	}
}

// Unary calls and streams of answers pass, over both versions of HTTP, in all forms, with metadata.
func TestWeb(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	for _, version := range []int{1, 2} {
		w := web(t, version, "", "", o.url)
		for _, kind := range []string{"", "+proto", "-text", "-text+proto"} {
			for cut := 1; cut < 8; cut++ {
				request, _ := proto.Marshal(&pb.SimpleRequest{Payload: &pb.Payload{Body: []byte("hello, weir")}})
				a := w.call(t, "UnaryCall", kind, framed(request), cut, "X-Echo-Bin: AAH/")
				var r pb.SimpleResponse
				if a.err != nil || a.ProtoMajor != version || len(a.messages) != 1 || proto.Unmarshal([]byte(a.messages[0]), &r) != nil || string(r.Payload.Body) != "hello, weir" {
					t.Fatalf("%s: %+v: %v", kind, a, &r)
				}
				if a.StatusCode != 200 || a.code() != "0" || a.Header.Get("Content-Type") != "application/grpc-web"+kind ||
					a.Header.Get("X-Echo-Bin") != "AAH/" || a.trailer.Get("X-Trail-Bin") != "AAH/" {
					t.Errorf("%s: %+v", kind, a)
				}
			}
			list := &pb.StreamingOutputCallRequest{}
			for size := range 20 {
				list.ResponseParameters = append(list.ResponseParameters, &pb.ResponseParameters{Size: int32(size)})
			}
			list.ResponseParameters = append(list.ResponseParameters, &pb.ResponseParameters{Size: 300_000})
			request, _ := proto.Marshal(list)
			a := w.call(t, "StreamingOutputCall", kind, framed(request), 10)
			if a.err != nil || len(a.messages) != 21 || a.code() != "0" {
				t.Fatalf("%s: %d messages, %v, %v", kind, len(a.messages), a.trailer, a.err)
			}
			var r pb.StreamingOutputCallResponse
			if err := proto.Unmarshal([]byte(a.messages[20]), &r); err != nil || len(r.Payload.Body) != 300_000 {
				t.Errorf("%s: %v, %d bytes", kind, err, len(r.GetPayload().GetBody()))
			}
		}
		w.counts(t, `weir_grpc_calls_total{route="all",code="OK"}`, "32")
	}
}

// A client may want another form of the answer than its request has.
func TestWebAccept(t *testing.T) {
	t.Parallel()
	w := web(t, 1, "", "", newOrigin(t, "one", nil).url)
	request, _ := proto.Marshal(&pb.SimpleRequest{Payload: payload(10)})
	for _, c := range []struct{ kind, accept, want string }{
		{"", "application/grpc-web-text", "application/grpc-web-text"},
		{"-text+proto", "text/html, application/grpc-web+proto;q=1", "application/grpc-web+proto"},
		{"", "*/*", "application/grpc-web"},
	} {
		a := w.call(t, "UnaryCall", c.kind, framed(request), 4, "Accept: "+c.accept)
		if a.Header.Get("Content-Type") != c.want || a.code() != "0" || len(a.messages) != 1 {
			t.Errorf("%+v: %+v", c, a)
		}
	}
}

// Errors of the target and of weir are statuses of gRPC, in the head alone where nothing came before, and in
// log and metrics.
func TestWebStatuses(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, "one", nil)
	o.fails = func() error { return status.Error(codes.NotFound, "no such thing") }
	w := web(t, 2, "max_body = \"100\"", "", o.url)
	a := w.call(t, "UnaryCall", "-text", framed(nil), 4)
	if a.err != nil || a.StatusCode != 200 || a.Header.Get("Grpc-Status") != "5" || a.Header.Get("Grpc-Message") != "no such thing" ||
		a.Header.Get("Content-Type") != "application/grpc-web-text" || a.messages != nil {
		t.Errorf("%+v", a)
	}
	a = w.call(t, "UnaryCall", "+proto", framed(make([]byte, 1000)), 4)
	if a.err != nil || a.StatusCode != 200 || a.Header.Get("Grpc-Status") != "8" || a.Header.Get("Content-Type") != "application/grpc-web+proto" ||
		a.Header.Get("Grpc-Message") != "weir: body_too_large: the messages are larger than the route takes" {
		t.Errorf("%+v", a)
	}
	r, err := w.client.Post(w.url+"UnaryCall", "application/grpc-web-text", strings.NewReader("AAA&"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 200 || r.Header.Get("Grpc-Status") != "13" || r.Header.Get("Grpc-Message") != "weir: bad_request" {
		t.Errorf("what is not base64: %v", r.Header)
	}
	o.Stop()
	w.counts(t, fmt.Sprintf(`weir_upstream_connections{upstream="origin",target=%q,state="open"}`, o.url), "0")
	a = w.call(t, "UnaryCall", "-text", framed(nil), 4)
	if a.err != nil || a.StatusCode != 200 || a.Header.Get("Grpc-Status") != "14" || a.Header.Get("Content-Type") != "application/grpc-web-text" {
		t.Errorf("%+v", a)
	}
	w.counts(t, `weir_grpc_calls_total{route="all",code="UNAVAILABLE"}`, "1")
	w.counts(t, `weir_grpc_calls_total{route="all",code="NOT_FOUND"}`, "1")
	testkit.Eventually(t, "the log has the statuses", func() bool {
		w.Reopen()
		w.log.mu.Lock()
		defer w.log.mu.Unlock()
		all := "\n" + w.log.all.String()
		return strings.Contains(all, "\n200 NOT_FOUND ok\n") && strings.Contains(all, "\n200 RESOURCE_EXHAUSTED body_too_large\n") &&
			strings.Contains(all, "\n200 INTERNAL bad_request\n") && strings.Contains(all, "\n200 UNAVAILABLE connect_failed\n")
	})
}

// UNAVAILABLE is tried again elsewhere as for a call of gRPC.
func TestWebRetry(t *testing.T) {
	t.Parallel()
	bad, good := newOrigin(t, "bad", nil), newOrigin(t, "good", nil)
	bad.fails = func() error { return status.Error(codes.Unavailable, "busy") }
	w := web(t, 1, "", "retry = { on = [\"connect\", \"reset\", \"unavailable\"], budget = 1.0 }\nhealth.passive.failures = 3\n", bad.url, good.url)
	request, _ := proto.Marshal(&pb.SimpleRequest{Payload: payload(10)})
	for i := range 20 {
		kind := []string{"", "-text"}[i%2]
		var r pb.SimpleResponse
		a := w.call(t, "UnaryCall", kind, framed(request), 1000)
		if a.code() != "0" || proto.Unmarshal([]byte(a.messages[0]), &r) != nil || r.ServerId != "good" {
			t.Fatalf("%s: %+v", kind, a)
		}
	}
	if n := bad.calls.Load(); n == 0 {
		t.Error("the bad target got no call")
	}
}

// An answer that breaks off is cut: it has no last frame, and no client takes it for whole. One that
// ends without a status gets one.
func TestWebBroken(t *testing.T) {
	t.Parallel()
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := &http.Server{Protocols: h2c, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := fmt.Sprint(r.Header["Te"], r.Header["Content-Type"]); got != "[trailers] [application/grpc+json]" {
			t.Errorf("the target got %s", got)
		}
		w.Header().Set("Content-Type", "application/grpc+json")
		w.Write(framed([]byte("{}")))
		w.(http.Flusher).Flush()
		if strings.HasSuffix(r.URL.Path, "/Broken") {
			panic(http.ErrAbortHandler)
		}
	})}
	go target.Serve(ln)
	t.Cleanup(func() { target.Close() })
	for _, version := range []int{1, 2} {
		w := web(t, version, "", "", "h2c://"+ln.Addr().String())
		body, _ := protojson.Marshal(&pb.SimpleRequest{})
		for _, kind := range []string{"+json", "-text+json"} {
			a := w.call(t, "Broken", kind, framed(body), 4)
			if a.err == nil || errors.Is(a.err, io.EOF) || a.trailer != nil {
				t.Errorf("HTTP/%d%s: what breaks off ends with %v, %v", version, kind, a.err, a.trailer)
			}
			a = w.call(t, "Unsaid", kind, framed(body), 4)
			if a.err != nil || a.code() != "13" || a.trailer.Get("Grpc-Message") != "weir: the target sent no status" || len(a.messages) != 1 {
				t.Errorf("HTTP/%d%s: what has no status ends with %v, %v", version, kind, a.err, a.trailer)
			}
		}
		w.counts(t, `weir_grpc_calls_total{route="all",code="INTERNAL"}`, "4") // what breaks off, and what has no status
	}
}

// Pages of origins that the route names may call, see what they need, and others may not.
func TestWebCORS(t *testing.T) {
	t.Parallel()
	w := web(t, 1, `cors = { origins = ["https://app.example", "https://*.apps.example:8443"], headers = ["x-mine"] }`, "", newOrigin(t, "one", nil).url)
	preflight := func(origin string) http.Header {
		t.Helper()
		r, _ := http.NewRequest("OPTIONS", w.url+"UnaryCall", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "content-type,x-grpc-web")
		a, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != 204 || a.Header.Get("Vary") != "Origin" {
			t.Errorf("the preflight of %s: %d, %v", origin, a.StatusCode, a.Header)
		}
		return a.Header
	}
	for _, origin := range []string{"https://app.example", "https://a.b.apps.example:8443"} {
		h := preflight(origin)
		if h.Get("Access-Control-Allow-Origin") != origin || h.Get("Access-Control-Allow-Methods") != "GET, HEAD, POST" || h.Get("Access-Control-Max-Age") != "600" ||
			h.Get("Access-Control-Allow-Headers") != "x-mine, content-type, grpc-timeout, x-grpc-web, x-user-agent" {
			t.Errorf("%s: %v", origin, h)
		}
		a := w.call(t, "UnaryCall", "", framed(nil), 1, "Origin: "+origin)
		if a.code() != "0" || a.Header.Get("Access-Control-Allow-Origin") != origin || a.Header.Get("Vary") != "Origin" ||
			!strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "grpc-status, grpc-message") {
			t.Errorf("%s: %v", origin, a.Header)
		}
	}
	for _, origin := range []string{"https://other.example", "null", "https://apps.example:8443", "http://app.example", "https://.apps.example:8443", "https://app.example.evil.example"} {
		if h := preflight(origin); len(h["Access-Control-Allow-Origin"])+len(h["Access-Control-Allow-Methods"]) > 0 {
			t.Errorf("%s: %v", origin, h)
		}
		if a := w.call(t, "UnaryCall", "", framed(nil), 1, "Origin: "+origin); a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", origin, a.Header)
		}
	}
}
