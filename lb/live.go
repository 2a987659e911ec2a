package lb

import (
	"crypto/sha256"
	"fmt"
	"sync/atomic"

	"weir/config"
	"weir/internal/refs"
)

// Transport is the connections to one target. Package lb only ends them; the
// maker of the Transport knows what else it can do.
type Transport interface {
	// Retire is called once no upstream and no exchange has the target any more.
	Retire()
}

// Attachment is what the owner of an upstream keeps with a target, in all
// generations. Package lb only says when it is over.
type Attachment interface {
	// Retire is called once no upstream and no exchange has the target any more. It
	// must not call back.
	Retire()
}

// live is what survives a reload. It lives as long as an upstream holds it or
// an exchange runs on it.
type live struct {
	identity   string
	transport  Transport
	attachment Attachment
	// holders are the sets of targets that have it, and the exchanges on it.
	holders refs.Count

	bits     atomic.Uint32
	inFlight atomic.Int64

	// fails counts failed exchanges in a row; good and bad count all.
	fails atomic.Int64
	good  atomic.Int64
	bad   atomic.Int64

	// since is when the target began to warm up. trialAt and earlyAt are when a target that is
	// out gets its next trial, by any exchange and by one that can be repeated; 0 for never.
	// failedAt is when an exchange last failed. All are in Monotonic time.
	since    atomic.Int64
	trialAt  atomic.Int64
	earlyAt  atomic.Int64
	failedAt atomic.Int64
	// costly says that retry.on does not name what the last failure was, so that such a one is
	// the client's answer.
	costly atomic.Bool
	// asked is when the first exchange began since the target's last sign of life; never: none
	// has. retryAt is when an exchange may find out about a target in doubt.
	asked   atomic.Int64
	retryAt atomic.Int64
	// redials and ejections count what makes the next wait longer. ejectedFor is how long the
	// last ejection was to be, and ejectedUntil when it ended; core.mu guards them.
	redials      int
	ejections    int
	ejectedFor   int64
	ejectedUntil int64
	// failing says that OnJudged was told of a failure since the last success.
	failing atomic.Bool
	// reason is why the target is in its state; nil for none.
	reason atomic.Pointer[string]

	// weight is what the operator set; 0 for what the configuration or discovery says.
	weight atomic.Int64

	// probed says that there was a verdict by probes.
	probed atomic.Bool

	latency latency
	usual   usual
	limit   adaptive
}

// newLive makes the live part of the target at url, held once.
func (u *Upstream) newLive(url string) (*live, error) {
	transport, err := u.o.NewTransport(url, u.cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot add target %q: %w", url, err)
	}
	l := &live{identity: u.identity(url), transport: transport, attachment: u.o.NewAttachment(u.name, displayName(url))}
	l.asked.Store(never)
	l.holders.Hold()
	return l, nil
}

// identity returns what two targets have in common that are the same one.
func (u *Upstream) identity(url string) string { return url + "\n" + u.settings }

// release counts one holder less of l, and retires what belongs to l after the last.
func (l *live) release() {
	if !l.holders.Release() {
		return
	}
	if l.transport != nil {
		l.transport.Retire()
	}
	if l.attachment != nil {
		l.attachment.Retire()
	}
}

// transportSettings returns what of cfg makes connections different: of
// certificates also what the files hold, because renewed ones keep their names.
func transportSettings(cfg *config.Upstream) string {
	s := fmt.Appendf(nil, "%v\n%v\n%+v\n%+v", cfg.Timeouts.Connect, cfg.Timeouts.TLS, cfg.Connections, cfg.TLS)
	for _, file := range []string{cfg.TLS.CA, cfg.TLS.CRL, cfg.TLS.Cert, cfg.TLS.Key} {
		if file == "" {
			continue
		}
		// One that cannot be read differs from one that could: making the new
		// connections then says what is wrong.
		pem, err := config.ReadFile(file)
		s = fmt.Appendf(s, "\n%x %v", sha256.Sum256(pem), err)
	}
	return string(s)
}
