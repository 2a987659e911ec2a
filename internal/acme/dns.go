package acme

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"

	"weir/config"
)

// recordTTL is that of the records for challenges.
const recordTTL = time.Minute

// recordWithin bounds one change of a record.
const recordWithin = time.Minute

// newProvider returns what sets records.
func newProvider(c *config.DNSChallenge) (certmagic.DNSProvider, error) {
	switch c.Provider {
	case config.DNSExec:
		path, err := exec.LookPath(c.Command[0])
		if err != nil {
			return nil, fmt.Errorf("certificates.dns.command: %w", err)
		}
		return provider{(&command{append([]string{path}, c.Command[1:]...)}).change}, nil
	case config.DNSUpdate:
		u := &updates{server: c.Server, key: dns.Fqdn(c.KeyName), secret: c.KeySecret, algorithm: dns.Fqdn(c.KeyAlgorithm)}
		if c.KeyName == "" {
			u.key = ""
		}
		return provider{u.change}, nil
	case config.DNSCloudflare:
		return provider{(&cloudflare{token: c.Token, api: cloudflareAPI}).change}, nil
	}
	return nil, errors.New(`the challenge "dns-01" needs certificates.dns.provider`)
}

// change sets or deletes a TXT record. name ends with a dot, and so does the zone that has it.
type change func(ctx context.Context, set bool, zone, name, value string) error

// provider is a certmagic.DNSProvider that makes changes one by one.
type provider struct{ change change }

// AppendRecords implements libdns.RecordAppender.
func (p provider) AppendRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return list, p.each(ctx, true, zone, list)
}

// DeleteRecords implements libdns.RecordDeleter.
func (p provider) DeleteRecords(ctx context.Context, zone string, list []libdns.Record) ([]libdns.Record, error) {
	return list, p.each(ctx, false, zone, list)
}

func (p provider) each(ctx context.Context, set bool, zone string, list []libdns.Record) error {
	ctx, done := context.WithTimeout(ctx, recordWithin)
	defer done()
	for _, r := range list {
		rr := r.RR()
		if err := p.change(ctx, set, dns.Fqdn(zone), dns.Fqdn(libdns.AbsoluteName(rr.Name, zone)), rr.Data); err != nil {
			return err
		}
	}
	return nil
}

// command makes changes by a program.
type command struct{ words []string }

func (c *command) change(ctx context.Context, set bool, _, name, value string) error {
	verb := "delete"
	if set {
		verb = "set"
	}
	run := exec.CommandContext(ctx, c.words[0], append(append([]string{}, c.words[1:]...), verb, name, value)...)
	run.WaitDelay = time.Second
	// A command that has succeeded may leave a process behind that has its output, too.
	if said, err := run.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s %s %s: %w: %s", c.words[0], verb, name, err, bytes.TrimSpace(said[:min(len(said), 500)]))
	}
	return nil
}

// updates makes changes by messages to a name server (RFC 2136).
type updates struct{ server, key, secret, algorithm string }

func (u *updates) change(ctx context.Context, set bool, zone, name, value string) error {
	record := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(recordTTL.Seconds())}, Txt: []string{value}}
	m := new(dns.Msg).SetUpdate(zone)
	if set {
		m.Insert([]dns.RR{record})
	} else {
		m.Remove([]dns.RR{record})
	}
	client := &dns.Client{Net: "tcp"}
	if u.key != "" {
		client.TsigSecret = map[string]string{u.key: u.secret}
		m.SetTsig(u.key, u.algorithm, 300, time.Now().Unix())
	}
	answer, _, err := client.ExchangeContext(ctx, m, u.server)
	if err != nil {
		return fmt.Errorf("cannot send an update to %s: %w", u.server, err)
	}
	if answer.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("%s refuses the update with %s", u.server, dns.RcodeToString[answer.Rcode])
	}
	return nil
}
