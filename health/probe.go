package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// Probe asks one target once whether it works; nil means that it does. It returns
// when ctx ends.
type Probe func(ctx context.Context) error

// The values of health.probe.
const (
	probeOff  = "off"
	probeHTTP = "http"
	probeTCP  = "tcp"
	probeGRPC = "grpc"
)

// Probes returns the names that health.probe knows.
func Probes() []string { return []string{probeOff, probeHTTP, probeTCP, probeGRPC} }

// Check returns the problems of c that only this package can find. The keys are
// below the upstream's own.
func Check(c *config.Upstream) (problems []config.Problem) {
	if !slices.Contains(Probes(), c.Health.Probe) {
		problems = append(problems, config.NotOneOf(config.Key("health", "probe"), c.Health.Probe, Probes()))
	}
	for i, s := range c.Health.Status {
		if _, ok := parseStatus(s); !ok {
			problems = append(problems, config.Problem{
				Key:   config.Key("health", "status", i),
				Found: strconv.Quote(s),
				Want:  `a status such as "200" or a range such as "200-299", from 100 to 599`,
			})
		}
	}
	if len(c.Health.Status) == 0 {
		problems = append(problems, config.Problem{
			Key: config.Key("health", "status"), Found: "nothing", Want: `at least one status or range such as "200-299"`,
		})
	}
	return problems
}

// statusRange is a range of status codes, both ends included.
type statusRange struct{ least, most int }

func parseStatus(s string) (statusRange, bool) {
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	least, err1 := strconv.Atoi(from)
	most, err2 := strconv.Atoi(to)
	return statusRange{least, most}, err1 == nil && err2 == nil && len(from) == 3 && len(to) == 3 &&
		100 <= least && least <= most && most <= 599
}

// newProbe makes the probe that cfg names.
func newProbe(cfg *config.Health, d dialer) Probe {
	switch cfg.Probe {
	case probeTCP:
		return tcpProbe(d)
	case probeGRPC:
		return grpcProbe(cfg, d)
	case probeHTTP:
		return httpProbe(cfg, d)
	}
	panic("BUG: no probe is named " + cfg.Probe)
}

// tcpProbe succeeds if a connection can be made, TLS included.
func tcpProbe(d dialer) Probe {
	return func(ctx context.Context) error {
		c, err := d.Dial(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// maxProbeBody is how much of a response's body is read.
const maxProbeBody = 64 << 10

// httpProbe succeeds if the response to a GET has one of the expected statuses
// and, if health.body is set, this text in its body.
func httpProbe(cfg *config.Health, d dialer) Probe {
	var ranges []statusRange
	for _, s := range cfg.Status {
		r, ok := parseStatus(s)
		if !ok {
			panic("BUG: " + s + " was not checked")
		}
		ranges = append(ranges, r)
	}
	host := cfg.Host
	if host == "" {
		host = d.Host()
	}
	ask, scheme := httpAsker(d)
	return func(ctx context.Context) error {
		// The URL's host is not dialled. Opaque sends the path as it was written.
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://target/", nil)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		req.URL.Opaque = cfg.Path
		req.Host = host
		req.Header.Set("User-Agent", "weir-health")
		req.Close = true
		return ask.do(req, func(resp *http.Response) error {
			if !slices.ContainsFunc(ranges, func(r statusRange) bool {
				return r.least <= resp.StatusCode && resp.StatusCode <= r.most
			}) {
				return fmt.Errorf("status is %d, want %s", resp.StatusCode, strings.Join(cfg.Status, ", "))
			}
			if cfg.Body == "" {
				return nil
			}
			body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
			if !bytes.Contains(body, []byte(cfg.Body)) {
				if err != nil {
					return fmt.Errorf("cannot read body: %w", err)
				}
				return fmt.Errorf("body has no %q", cfg.Body)
			}
			return nil
		})
	}
}

// httpAsker returns an asker that speaks to the target of d as exchanges do, and the scheme of its
// requests.
func httpAsker(d dialer) (ask *asker, scheme string) {
	protocols, p := d.Protocols(), new(http.Protocols)
	switch {
	case !slices.Contains(protocols, "h2"):
		return &asker{dialer: d}, "http"
	case len(protocols) == 1:
		p.SetUnencryptedHTTP2(true)
		return &asker{dialer: d, protocols: p}, "http"
	}
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	return &asker{d, p, protocols}, "https" // ALPN decides
}

// grpcProbe calls grpc.health.v1.Health/Check and succeeds if the response is
// SERVING. Neither a protobuf nor a gRPC package is needed, because the two
// messages have one field each: a string in the request, an enumeration in the
// response.
func grpcProbe(cfg *config.Health, d dialer) Probe {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true) // on each connection that Dial made, TLS too
	ask := &asker{d, protocols, []string{"h2"}}
	host := cfg.Host
	if host == "" {
		host = d.Host()
	}
	message := appendCheckRequest(nil, cfg.Service)
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost,
			"http://target/grpc.health.v1.Health/Check", bytes.NewReader(message))
		if err != nil {
			panic("BUG: " + err.Error())
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		req.Header.Set("User-Agent", "weir-health")
		return ask.do(req, func(resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("status is %d, want 200", resp.StatusCode)
			}
			body, err := io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
			if err != nil {
				return fmt.Errorf("cannot read the answer: %w", err)
			}
			end := resp.Trailer
			if end.Get("Grpc-Status") == "" {
				end = resp.Header // an answer that is an error and nothing else has only a head
			}
			if status := end.Get("Grpc-Status"); status != "0" {
				return fmt.Errorf("grpc-status is %q (%s), want 0", status, end.Get("Grpc-Message"))
			}
			return servingStatus(body)
		})
	}
}

// appendCheckRequest appends a HealthCheckRequest after the five bytes of gRPC's
// frame: no compression, and the length.
func appendCheckRequest(dst []byte, service string) []byte {
	var m []byte
	if service != "" {
		m = append(m, 1<<3|2) // field 1, bytes
		m = binary.AppendUvarint(m, uint64(len(service)))
		m = append(m, service...)
	}
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(m)))
	return append(dst, m...)
}

// servingStatus reads a HealthCheckResponse after the five bytes of gRPC's frame.
func servingStatus(body []byte) error {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return errors.New("the answer is no single uncompressed gRPC message")
	}
	status := uint64(0)
	for m := body[5:]; len(m) > 0; {
		tag, n := binary.Uvarint(m)
		if n <= 0 || tag&7 != 0 {
			return errors.New("the answer is no HealthCheckResponse")
		}
		v, k := binary.Uvarint(m[n:])
		if k <= 0 {
			return errors.New("the answer is no HealthCheckResponse")
		}
		if tag == 1<<3 {
			status = v
		}
		m = m[n+k:]
	}
	names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	if status == 1 {
		return nil
	}
	if status < uint64(len(names)) {
		return fmt.Errorf("status is %s, want SERVING", names[status])
	}
	return fmt.Errorf("status is %d, want SERVING", status)
}
