package inspect

import (
	"strings"

	"weir/admin"
)

// Import implements admin.Inspector.
func (r *Recorder) Import(list []*admin.ExchangeDetail) (ids []string) {
	r.mu.Lock()
	plan := r.plan
	r.mu.Unlock()
	names := newSecretNames(nil)
	if plan != nil {
		names = plan.names
	}
	for _, d := range list {
		k := masked(d, names)
		r.mu.Lock()
		fits := r.rings[imported].used+k.size <= r.rings[imported].budget && r.add(k)
		r.mu.Unlock()
		if !fits {
			break
		}
		ids = append(ids, k.ID)
	}
	return ids
}

// masked is an exchange of elsewhere as it is kept here.
func masked(d *admin.ExchangeDetail, names *secretNames) *kept {
	m := masker{names: names, at: "request"}
	k := &kept{Exchange: d.Exchange, tries: d.Tries, timing: d.Timing, why: d.Why, notes: d.Notes}
	k.Kind = admin.KindImported
	k.Target, k.Duration = string(m.appendTarget(nil, []byte(d.Target))), max(d.Duration, 0)
	for _, text := range []*string{
		&k.ReplayOf, &k.RequestID, &k.TraceID, &k.SpanID, &k.Listener, &k.Client, &k.User, &k.Scheme, &k.Host, &k.Version, &k.Route, &k.Upstream, &k.TargetURL, &k.Cause, &k.Error, &k.Cache, &k.Type,
	} {
		*text = m.line(*text) // an archive may have anything there
	}
	for p, message := range [parts]*admin.Message{partRequest: d.Request, partForwarded: d.Forwarded, partReceived: d.Received, partResponse: d.Response} {
		if message == nil {
			continue
		}
		m.at = partNames[p]
		k.messages[p] = m.message(message)
	}
	k.masked = m.places
	k.measure()
	return k
}

func (m *masker) message(from *admin.Message) *message {
	made := &message{}
	method, rest, _ := strings.Cut(from.Line, " ")
	if target, version, ok := strings.Cut(rest, " "); ok && !strings.HasPrefix(method, "HTTP/") {
		made.line = oneLine(method + " " + string(m.appendTarget(nil, []byte(target))) + " " + m.line(version))
	} else {
		made.line = m.line(from.Line)
	}
	var fields []byte
	for _, f := range from.Fields {
		fields = m.appendField(fields, []byte(oneLine(f[0])), []byte(oneLine(f[1])))
	}
	made.fields = string(fields)
	if b := from.Body; b != nil {
		m.at += ".body"
		before := len(m.places)
		made.body = &bodyPart{
			text: string(m.appendBody(nil, b.Type, b.Bytes())), size: b.Size, kept: b.Kept, truncated: b.Truncated, kind: b.Type, coding: b.Coding, decoded: b.Decoded,
		}
		made.body.masked = b.Masked || len(m.places) > before
	}
	return made
}

// line is text without secrets and line ends.
func (m *masker) line(text string) string { return oneLine(string(m.appendText(nil, []byte(text)))) }

// oneLine is text without line ends.
func oneLine(text string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(text) }
