package testkit

import (
	"crypto"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Responder says what an authority knows of its certificates (OCSP). It says that they are good for two hours,
// until it is told otherwise.
type Responder struct {
	URL string

	mu     sync.Mutex
	issuer *x509.Certificate
	key    crypto.Signer
	answer func(w http.ResponseWriter, serial *big.Int)
	asked  int
}

// Responder returns a responder of the authority, which answers until the end of the test.
func (a *Authority) Responder() *Responder {
	r, end := NewResponder()
	a.t.Cleanup(end)
	r.SignBy(a.cert, a.key)
	return r
}

// NewResponder returns a responder that has no authority yet: it answers with status 503, until end is called.
func NewResponder() (r *Responder, end func()) {
	r = &Responder{}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	r.URL = server.URL
	return r, server.Close
}

// SignBy makes the responder answer for an authority.
func (r *Responder) SignBy(issuer *x509.Certificate, key crypto.Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.issuer, r.key = issuer, key
}

// Answer makes the responder send what a function returns for a serial number, signed by its authority. Times that are
// lacking, and the serial number, are added.
func (r *Responder) Answer(f func(serial *big.Int) ocsp.Response) {
	r.AnswerBy(func(w http.ResponseWriter, serial *big.Int) { w.Write(r.Sign(f(serial), serial)) })
}

// AnswerBy makes the responder answer by a function.
func (r *Responder) AnswerBy(f func(w http.ResponseWriter, serial *big.Int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

// Sign returns a response of the authority.
func (r *Responder) Sign(about ocsp.Response, serial *big.Int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if about.SerialNumber == nil {
		about.SerialNumber = serial
	}
	if about.ThisUpdate.IsZero() {
		about.ThisUpdate = time.Now().Add(-time.Minute)
	}
	if about.NextUpdate.IsZero() {
		about.NextUpdate = time.Now().Add(2 * time.Hour)
	}
	if about.Status == ocsp.Revoked {
		about.RevokedAt = about.ThisUpdate
	}
	response, err := ocsp.CreateResponse(r.issuer, r.issuer, about, r.key)
	if err != nil {
		return []byte(err.Error())
	}
	return response
}

// Asked returns how often the responder was asked.
func (r *Responder) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *Responder) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	question, err := ocsp.ParseRequest(body)
	r.mu.Lock()
	r.asked++
	answer, ready := r.answer, r.issuer != nil
	r.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case answer != nil:
		answer(w, question.SerialNumber)
	case ready:
		w.Write(r.Sign(ocsp.Response{Status: ocsp.Good}, question.SerialNumber))
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}
