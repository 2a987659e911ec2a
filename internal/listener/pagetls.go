package listener

import (
	"crypto/tls"
	"sync"
	"time"

	"weir/config"
)

// refreshEvery bounds how often the files of NewTLS are looked at.
const refreshEvery = 10 * time.Second

// NewTLS returns how a page for operators speaks TLS, with HTTP/1.1 alone. Changed files are read again,
// when handshakes need them.
func NewTLS(files []config.Certificate) (*tls.Config, error) {
	c, err := loadCertificates(files)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	looked := time.Now()
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			if now := time.Now(); now.Sub(looked) > refreshEvery {
				looked = now
				_, _ = c.refresh() // files that cannot be read leave the old ones
			}
			mu.Unlock()
			return c.choose(hello), nil
		},
	}, nil
}
