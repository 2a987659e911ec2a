package secure

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ocsp"
)

// ErrRevoked is what StaplesOptions.OnChange hears of a certificate that its authority has revoked.
var ErrRevoked = errors.New("its authority says that the certificate is revoked")

// StaplesOptions are what Staples need. The zero value is usable.
type StaplesOptions struct {
	// OnChange hears of the first failure after a success, or of all, why there is no new staple for a certificate; and of
	// the first success, by a nil err.
	OnChange func(leaf *x509.Certificate, err error)
	// OnRevoked hears of each response that says that a certificate is revoked.
	OnRevoked func(leaf *x509.Certificate)
	// Keep says whether to go on asking for a certificate that no handshake has shown since the last time; nil means no.
	Keep func(leaf *x509.Certificate) bool
	// Retry is the time between a failure and the next question, and the least between any two; it doubles with each
	// failure up to 60 times. 0 means a minute.
	Retry time.Duration
}

const (
	// responderWithin bounds one question to a responder.
	responderWithin = 15 * time.Second
	// stapleWithin bounds how long a handshake waits for the first staple of a certificate that needs one.
	stapleWithin = 5 * time.Second
	// mostQuestions bounds the questions at a time.
	mostQuestions = 8
	// longestResponse bounds what is read of a response, in bytes.
	longestResponse = 64 << 10
	// longestUse is the most time between two questions, and how long a response counts that does not say.
	longestUse = 12 * time.Hour
	// skew is how much the clock of a responder may be ahead.
	skew = 5 * time.Minute
)

// Staples are the responses of OCSP (RFC 6960) for certificates that name a responder. They are got in the
// background, kept while handshakes ask for them, and shown by handshakes (RFC 6066 section 8) that
// never wait for them, unless the certificate says that it needs one (RFC 7633). The methods may be called from any
// goroutine.
type Staples struct {
	options StaplesOptions
	client  *http.Client
	slots   chan struct{} // has a token for each question
	ctx     context.Context
	stop    context.CancelFunc

	certs sync.Map // *staple by *x509.Certificate

	mu      sync.Mutex     // guards the beginning of what running counts, and timers
	running sync.WaitGroup // questions
}

// staple is the response for one certificate.
type staple struct {
	cert   *tls.Certificate // without a staple
	must   bool             // clients want one
	first  chan struct{}    // closed after the first question
	usable atomic.Pointer[stapled]
	asked  atomic.Bool // a handshake asked for it since the last question

	// One question at a time uses the rest.
	failures int // since the last success
	state    stapleState
	timer    *time.Timer
}

// stapleState is what came of the last question.
type stapleState int

const (
	stapleUnasked stapleState = iota
	stapleGood
	stapleFailed
	stapleRevoked
)

// stapled is a certificate with its staple, which counts until a time.
type stapled struct {
	cert  *tls.Certificate
	until time.Time
}

// NewStaples returns Staples without any. They ask no responder before they are used.
func NewStaples(o StaplesOptions) *Staples {
	if o.Retry == 0 {
		o.Retry = time.Minute
	}
	s := &Staples{options: o, slots: make(chan struct{}, mostQuestions)}
	s.client = &http.Client{Timeout: responderWithin, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}} // hours are between questions
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Close ends all questions.
func (s *Staples) Close() {
	s.stop()
	s.mu.Lock()
	for _, v := range s.certs.Range {
		if st := v.(*staple); st.timer != nil {
			st.timer.Stop()
		}
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Prepare gets the staple of a certificate before the first handshake that shows it.
func (s *Staples) Prepare(cert *tls.Certificate) {
	if names(cert) {
		s.of(cert)
	}
}

// names says whether a certificate names a responder, and has no staple.
func names(cert *tls.Certificate) bool {
	return cert.Leaf != nil && len(cert.Leaf.OCSPServer) > 0 && len(cert.OCSPStaple) == 0
}

// Add returns a certificate with its staple, or as it is if there is none.
func (s *Staples) Add(ctx context.Context, cert *tls.Certificate) *tls.Certificate {
	if !names(cert) {
		return cert
	}
	st := s.of(cert)
	if !st.asked.Load() {
		st.asked.Store(true)
	}
	if st.must {
		st.await(ctx)
	}
	if u := st.usable.Load(); u != nil && time.Now().Before(u.until) {
		return u.cert
	}
	return cert
}

// of returns the staple for a certificate, for which it asks if it is new.
func (s *Staples) of(cert *tls.Certificate) *staple {
	if v, ok := s.certs.Load(cert.Leaf); ok {
		return v.(*staple)
	}
	st := &staple{cert: cert, must: NeedsStaple(cert.Leaf), first: make(chan struct{})}
	if v, ok := s.certs.LoadOrStore(cert.Leaf, st); ok {
		return v.(*staple)
	}
	s.begin(st)
	return st
}

// await waits for the answer to the first question.
func (st *staple) await(ctx context.Context) {
	select {
	case <-st.first:
		return
	default:
	}
	timer := time.NewTimer(stapleWithin)
	defer timer.Stop()
	select {
	case <-st.first:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// begin asks for a staple, now and again.
func (s *Staples) begin(st *staple) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.running.Go(func() {
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		st.asked.Store(false)
		wait := s.question(st)
		<-s.slots
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.ctx.Err() == nil {
			st.timer = time.AfterFunc(wait, func() { s.again(st) })
		}
	})
}

// again asks once more, unless no handshake needs the staple.
func (s *Staples) again(st *staple) {
	if leaf := st.cert.Leaf; st.asked.Load() || s.options.Keep != nil && s.options.Keep(leaf) {
		s.begin(st)
	} else {
		s.certs.Delete(st.cert.Leaf)
	}
}

// question asks the responders once and returns how long to wait until the next time.
func (s *Staples) question(st *staple) (wait time.Duration) {
	now := time.Now()
	response, until, err := s.ask(st.cert, now)
	state := stapleFailed // what there is counts on
	switch {
	case err == nil:
		cert := *st.cert
		cert.OCSPStaple = response
		st.usable.Store(&stapled{&cert, until})
		state, st.failures = stapleGood, 0
		wait = min(until.Sub(now)/2, longestUse)
	case errors.Is(err, ErrRevoked):
		st.usable.Store(nil)
		state = stapleRevoked
		fallthrough
	default:
		wait = min(s.options.Retry<<min(st.failures, 6), 60*s.options.Retry)
		st.failures++
	}
	if s.ctx.Err() == nil {
		s.tell(st, state, err)
	}
	return max(wait, s.options.Retry)
}

// tell reports what came of a question.
func (s *Staples) tell(st *staple, state stapleState, err error) {
	if st.state == stapleUnasked {
		defer close(st.first)
	}
	if state != st.state && s.options.OnChange != nil {
		s.options.OnChange(st.cert.Leaf, err)
	}
	if state == stapleRevoked && s.options.OnRevoked != nil {
		s.options.OnRevoked(st.cert.Leaf)
	}
	st.state = state
}

// ask asks the responders of a certificate, one after the other. The response is a good one that counts until a
// time.
func (s *Staples) ask(cert *tls.Certificate, now time.Time) (response []byte, until time.Time, err error) {
	issuer, err := issuerOf(cert)
	if err != nil {
		return nil, until, err
	}
	request, err := ocsp.CreateRequest(cert.Leaf, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1}) // which all responders know
	if err != nil {
		return nil, until, err
	}
	var errs []error
	for _, url := range cert.Leaf.OCSPServer {
		if response, err = s.post(url, request); err == nil {
			if until, err = judgeResponse(response, cert.Leaf, issuer, now); err == nil || errors.Is(err, ErrRevoked) {
				return response, until, err
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", url, err))
	}
	return nil, until, errors.Join(errs...)
}

// issuerOf returns the certificate of the authority that has signed another.
func issuerOf(cert *tls.Certificate) (*x509.Certificate, error) {
	for _, der := range cert.Certificate[1:] {
		if issuer, err := x509.ParseCertificate(der); err == nil && cert.Leaf.CheckSignatureFrom(issuer) == nil {
			return issuer, nil
		}
	}
	return nil, errors.New("the certificate of its authority is lacking in the chain")
}

// post sends a request to a responder.
func (s *Staples) post(url string, request []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, url, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the responder answers %s", answer.Status)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, longestResponse+1))
	if len(body) > longestResponse {
		return nil, fmt.Errorf("the response has more than %d bytes", longestResponse)
	}
	return body, err
}

// judgeResponse checks a response and returns until when it counts. The error is ErrRevoked if it is a good response that
// says so.
func judgeResponse(response []byte, leaf, issuer *x509.Certificate, now time.Time) (until time.Time, err error) {
	r, err := ocsp.ParseResponseForCert(response, leaf, issuer)
	if err != nil {
		return until, err
	}
	until = r.NextUpdate
	if until.IsZero() {
		until = now.Add(longestUse)
	}
	if signer := r.Certificate; signer != nil && !signer.Equal(issuer) {
		if !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
			return until, errors.New("the response is signed by a certificate that may not do so")
		}
		if signer.NotAfter.Before(until) {
			until = signer.NotAfter
		}
	}
	switch {
	case r.ThisUpdate.After(now.Add(skew)):
		return until, fmt.Errorf("the response counts from %s on: look at the clocks", r.ThisUpdate.Format(time.RFC3339))
	case !now.Before(until):
		return until, fmt.Errorf("the response counted until %s", until.Format(time.RFC3339))
	case r.Status == ocsp.Revoked:
		return until, ErrRevoked
	case r.Status != ocsp.Good:
		return until, errors.New("the responder does not know the certificate")
	}
	return until, nil
}

// tlsFeature is the extension by which a certificate says what a handshake must have (RFC 7633).
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// statusRequest is the number of the TLS extension for staples.
const statusRequest = 5

// NeedsStaple says whether clients may refuse a certificate without a staple ("must staple").
func NeedsStaple(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(tlsFeature) {
			continue
		}
		var features []int
		if _, err := asn1.Unmarshal(e.Value, &features); err == nil && slices.Contains(features, statusRequest) {
			return true
		}
	}
	return false
}
