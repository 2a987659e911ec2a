package cache

import (
	"bufio"
	"bytes"

	"github.com/valyala/fasthttp"

	"weir/cache/rule"
)

// What the cache does with whole heads, as fasthttp has them.

// Copy fills h with the head, as Entry.Copy does.
func (a *Answer) Copy(h, empty *fasthttp.ResponseHeader) error {
	if a.head == nil {
		a.Entry.Copy(h, empty)
		return nil
	}
	return readHead(h, empty, a.head)
}

// Copy fills h with the head: status and fields, with the Content-Length if
// there is one and without Age. empty is the head to start from, which decides
// what fasthttp adds by itself. It allocates only the first time.
func (e *Entry) Copy(h, empty *fasthttp.ResponseHeader) {
	p := e.prepared.Load()
	if p == nil {
		parsed := new(fasthttp.ResponseHeader)
		if readHead(parsed, empty, e.Head) != nil {
			// What fasthttp refuses cannot have come from it: a damaged disk
			// or a hostile far tier. The status is all that is safe to repeat.
			empty.CopyTo(parsed)
			parsed.SetStatusCode(e.Status)
		}
		p = new(fasthttp.ResponseHeader)
		parsed.CopyTo(p) // which takes no more room than it needs
		e.prepared.Store(p)
	}
	p.CopyTo(h)
}

// readHead fills h with a head that has no empty line at its end.
func readHead(h, empty *fasthttp.ResponseHeader, head []byte) error {
	text := append(bytes.Clone(head), "\r\n"...)
	empty.CopyTo(h)
	return h.Read(bufio.NewReaderSize(bytes.NewReader(text), len(text)))
}

// Condition makes h the request that the fetch needs: for the whole
// representation, with the conditions that validate what is stored (RFC 9111
// section 4.3.1). Without anything to validate, or to replace, the client's
// own conditions and range stay.
func (f *Fetch) Condition(h *rule.RequestHead) {
	if f.selected == nil && len(f.candidates) == 0 || f.asked.Method != rule.MethodGet {
		return
	}
	conditions := rule.Conditions()
	for _, name := range append(conditions[:], "If-Range", "Range") {
		if rule.Has(h, name) {
			f.narrowed = true
			h.Del(name)
		}
	}
	var tags []byte
	for _, e := range f.candidates {
		if len(e.ETag) > 0 {
			if len(tags) > 0 {
				tags = append(tags, ", "...)
			}
			tags = append(tags, e.ETag...)
		}
	}
	if len(tags) > 0 {
		h.SetBytesV("If-None-Match", tags)
	}
	if f.selected != nil && f.selected.HasModified {
		h.SetBytesV("If-Modified-Since", f.selected.Fields().Get("Last-Modified"))
	}
}

// keepHead keeps the head of q, which the fetch begins with.
func (f *Fetch) keepHead(q *Request) { q.Header.CopyTo(&f.head) }

// askForGet makes the head, which may be a HEAD's, that of a GET.
func (f *Fetch) askForGet() {
	f.asked.Method = rule.MethodGet
	f.head.SetMethod("GET")
}
