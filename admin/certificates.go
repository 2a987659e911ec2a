package admin

import (
	"context"
	"net/http"
	"time"
)

const pathCertificates = "/certificates"

type certificates struct {
	Certificates []Certificate `json:"certificates"`
}

// Certificate is a certificate of a listener as operators see it.
type Certificate struct {
	// Name is what it is for, or the file that has it.
	Name string `json:"name"`
	// Listener is the label of the listener that shows it.
	Listener string `json:"listener"`
	// Source is "file", or the value of the listener's tls.
	Source string `json:"source"`
	// Issuer is the common name of the authority that has signed the certificate; empty before there is a certificate.
	Issuer string `json:"issuer,omitempty"`
	// NotBefore and NotAfter are when it is valid; nil if there is none yet.
	NotBefore *time.Time `json:"not_before,omitempty"`
	NotAfter  *time.Time `json:"not_after,omitempty"`
	// Error is why the last attempt to get or renew it failed; empty if it did not. Retry is when
	// the next one comes, if that is known.
	Error string     `json:"error,omitempty"`
	Retry *time.Time `json:"retry,omitempty"`
}

func (a *api) certificates(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, certificates{a.weir.Certificates()})
}

// Certificates returns the certificates of all listeners.
func (c *Client) Certificates(ctx context.Context) ([]Certificate, error) {
	var got certificates
	err := c.get(ctx, pathCertificates, &got)
	return got.Certificates, err
}
