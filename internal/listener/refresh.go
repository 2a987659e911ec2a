package listener

import (
	"time"

	"weir/internal/secure"
)

// use puts settings into force.
func (l *Listener) use(s *settings) {
	l.settings.Store(s)
	s.prepareStaples()
	l.rotation.Reset(l.rotateTickets())
}

// watchFiles looks for changed files and makes new keys of session tickets until Close.
func (l *Listener) watchFiles() {
	var look <-chan time.Time
	if interval := l.options.CertificateInterval; interval >= 0 {
		if interval == 0 {
			interval = DefaultCertificateInterval
		}
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		look = ticker.C
	}
	defer l.rotation.Stop()
	for {
		select {
		case <-look:
			l.RefreshCertificates()
		case <-l.rotation.C:
			l.updating.Lock()
			l.rotation.Reset(l.rotateTickets())
			l.updating.Unlock()
		case <-l.done:
			return
		}
	}
}

// RefreshCertificates reads the files of TLS that have changed, at once instead of at the next look,
// and reports to OnCertificates and OnFiles if there were any. Connections that are open keep the
// certificate they began with.
func (l *Listener) RefreshCertificates() {
	l.updating.Lock()
	defer l.updating.Unlock()
	s := l.settings.Load()
	if s.tls == nil {
		return
	}
	if s.certificates != nil {
		if changed, err := s.certificates.refresh(); changed {
			s.prepareStaples()
			if l.options.OnCertificates != nil {
				l.options.OnCertificates(err)
			}
		}
	}
	if changed, err := s.trust.Refresh(); changed {
		if err == nil {
			next := *s
			next.tls = s.tls.Clone()
			next.askForCertificates(next.tls)
			next.old = withoutHTTP2(next.tls)
			l.use(&next)
		}
		l.report("authorities and revocation lists of clients", err)
	}
	if changed, err := s.ech.Refresh(); changed {
		l.report("keys of Encrypted Client Hello", err)
	}
	if changed, err := s.secrets.Refresh(); changed {
		l.report("secrets of session tickets", err)
		l.rotateTickets()
	}
}

// report tells of files that were read again.
func (l *Listener) report(what string, err error) {
	if l.options.OnFiles != nil {
		l.options.OnFiles(what, err)
	}
}

// longestRotation bounds the wait for the next key of session tickets, so that a change of the
// machine's clock is seen in time.
const longestRotation = time.Minute

// rotateTickets makes handshakes use the keys of session tickets of this time, and returns when to
// call it again. One goroutine calls it at a time.
func (l *Listener) rotateTickets() (wait time.Duration) {
	s := l.settings.Load()
	if s.tls == nil || !s.config.Tickets.Enabled {
		return longestRotation
	}
	now := time.Now()
	if l.options.Now != nil {
		now = l.options.Now()
	}
	l.tickets.Use(s.config.Tickets.Rotate.D(), s.secrets.Value())
	keys, next := l.tickets.Keys(now)
	l.tls.SetSessionTicketKeys(keys)
	return min(max(next.Sub(now), time.Millisecond), longestRotation)
}

// Tickets returns the listener's own keys of session tickets, for the process that replaces this
// one.
func (l *Listener) Tickets() []secure.TicketKey { return l.tickets.Own() }
