package inspect

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"unsafe"

	"weir/admin"
)

// kept is what is kept of an exchange. It never changes.
type kept struct {
	admin.Exchange
	number uint64
	// messages are by part; nil for those that did not come to be.
	messages [parts]*message
	tries    []admin.Try
	timing   admin.Timing
	why      admin.Why
	masked   []string
	notes    []string
	// size is about how many bytes of memory all of it takes.
	size int64
}

// part is one of the messages of an exchange.
type part uint8

const (
	// partRequest is as the client sent it, partForwarded as the last target got it.
	partRequest part = iota
	partForwarded
	// partReceived is as the last target answered, partResponse as the client got it.
	partReceived
	partResponse

	parts
)

var partNames = [parts]string{partRequest: "request", partForwarded: "forwarded", partReceived: "received", partResponse: "response"}

// message is the head and the beginning of the body of a message. fields are its lines, each with
// "\n" at its end.
type message struct {
	line, fields string
	body         *bodyPart
}

// bodyPart is the beginning of a body, decoded and masked.
type bodyPart struct {
	text         string
	size         int64
	kept         int
	truncated    bool
	kind, coding string
	decoded      bool
	masked       bool
}

// number parses an id; 0 for one that cannot be.
func number(id string) uint64 {
	n, err := strconv.ParseUint(id, 36, 64)
	if err != nil {
		return 0
	}
	return n
}

// perAllocation is about what the memory of one small thing costs beyond its length.
const perAllocation = 16

// measure works out size.
func (k *kept) measure() {
	n := int(unsafe.Sizeof(*k))
	text := func(list ...string) {
		for _, s := range list {
			if s != "" {
				n += len(s) + perAllocation
			}
		}
	}
	text(k.ID, k.ReplayOf, k.RequestID, k.TraceID, k.SpanID, k.Client, k.User, k.Host, k.Target, k.Error, k.Type, k.why.Target, k.why.Cache)
	for _, m := range k.messages {
		if m == nil {
			continue
		}
		n += int(unsafe.Sizeof(*m)) + perAllocation
		text(m.line, m.fields)
		if m.body != nil {
			n += int(unsafe.Sizeof(*m.body)) + perAllocation
			text(m.body.text, m.body.kind, m.body.coding)
		}
	}
	for _, t := range k.tries {
		n += int(unsafe.Sizeof(t))
		text(t.Error)
	}
	text(k.masked...)
	text(k.notes...)
	n += (len(k.masked) + len(k.notes)) * int(unsafe.Sizeof(""))
	k.size = int64(n)
}

// withoutBodies is k for a memory that its bodies do not fit into.
func (k *kept) withoutBodies() *kept {
	c := *k
	for i, m := range k.messages {
		if m != nil {
			c.messages[i] = &message{line: m.line, fields: m.fields}
		}
	}
	c.notes = append(k.notes[:len(k.notes):len(k.notes)], "the bodies are not kept: the memory of the recorder is too small for them")
	c.measure()
	return &c
}

// detail is k as the API has it.
func (k *kept) detail() *admin.ExchangeDetail {
	d := &admin.ExchangeDetail{
		Exchange: k.Exchange, Tries: k.tries, Timing: k.timing, Why: k.why, Masked: k.masked, Notes: k.notes,
		Request: k.message(partRequest), Forwarded: k.message(partForwarded), Received: k.message(partReceived), Response: k.message(partResponse),
	}
	if d.Tries == nil {
		d.Tries = []admin.Try{}
	}
	if d.Masked == nil {
		d.Masked = []string{}
	}
	if d.Notes == nil {
		d.Notes = []string{}
	}
	return d
}

func (k *kept) message(p part) *admin.Message {
	m := k.messages[p]
	if m == nil {
		return nil
	}
	message := &admin.Message{Line: m.line, Fields: [][2]string{}}
	for line := range strings.Lines(m.fields) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		message.Fields = append(message.Fields, [2]string{name, value})
	}
	b := m.body
	if b == nil {
		return message
	}
	body := &admin.Body{Size: b.size, Kept: b.kept, Truncated: b.truncated, Type: b.kind, Coding: b.coding, Decoded: b.decoded, Masked: b.masked}
	if isText([]byte(b.text)) {
		body.Text = strings.ToValidUTF8(b.text, "") // a character that was cut
	} else {
		body.Base64 = []byte(b.text)
	}
	body.Image = imageType(b) != ""
	direction := "request"
	if p == partResponse {
		direction = "response"
	}
	body.URL = "/inspect/exchanges/" + k.ID + "/" + direction + "/body"
	message.Body = body
	return message
}

// imageType is the media type of an image that a browser can show without running anything of it;
// empty for all else. Type and first bytes must agree.
func imageType(b *bodyPart) string {
	kind, _, _ := strings.Cut(b.kind, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	found := http.DetectContentType([]byte(b.text[:min(len(b.text), 512)]))
	switch kind {
	case "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp":
		if found == kind {
			return kind
		}
	case "image/x-icon", "image/vnd.microsoft.icon":
		if found == "image/x-icon" {
			return found
		}
	case "image/avif":
		if len(b.text) > 12 && b.text[4:8] == "ftyp" && (b.text[8:12] == "avif" || b.text[8:12] == "avis") {
			return kind
		}
	}
	return ""
}

// field returns the value of the first field of that name, in whatever case; "" without such a field.
func (m *message) field(name string) string {
	if m == nil {
		return ""
	}
	for line := range strings.Lines(m.fields) {
		if n, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); strings.EqualFold(n, name) {
			return value
		}
	}
	return ""
}

// contains says whether the body has a text, without case.
func (m *message) contains(text []byte) bool {
	return m != nil && m.body != nil && bytes.Contains(bytes.ToLower([]byte(m.body.text)), text)
}
