package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"weir/cache/rule"
	"weir/config"
	"weir/internal/body"
	"weir/internal/field"
	"weir/internal/head"
	"weir/internal/match"
	"weir/internal/sock"
	"weir/internal/static"
)

var (
	acceptEncoding = head.NewName("Accept-Encoding")
	acceptRanges   = head.NewName("Accept-Ranges")
	contentRange   = head.NewName("Content-Range")
)

// fileBuffer is the size up to which a file is read at once, and leaves together with its head.
const fileBuffer = 32 << 10

// serveFile answers with the file of the route's folder that the path names.
func (x *Exchange) serveFile() verdict {
	if method := string(x.Request.Method()); method != "GET" && method != "HEAD" {
		x.fail(405, CauseMethod)
		return ended
	}
	path := match.RemoveDots(x.Path)
	if x.Route.stripPrefix {
		path = match.StripPrefix(path, x.Captures.Slashes())
		if len(path) == 0 {
			path = []byte("/")
		}
	}
	accepted := x.Request.Joined(acceptEncoding)
	f, err := x.Route.files.Open(path, func(coding string) bool { return field.AcceptsCoding(accepted, coding) })
	if err != nil {
		x.failFile(err)
		return ended
	}
	defer f.Close()
	x.sendFile(f)
	return ended
}

// failFile answers where no file was opened.
func (x *Exchange) failFile(err error) {
	x.Result.Err = err
	switch {
	case errors.Is(err, static.ErrSlash):
		x.Result.Err = nil
		x.redirect(301, &toFolder)
	case errors.Is(err, static.ErrNone):
		x.fail(404, CauseNoFile)
	case errors.Is(err, fs.ErrPermission):
		x.fail(403, CauseFileDenied)
	case sock.NoDescriptors(err):
		x.fail(503, CauseBusy)
	default:
		x.fail(500, CauseFileFailed)
	}
}

// toFolder is the path of a folder with its final slash.
var toFolder = newLocation(config.MustTemplate("{path}/"))

// sendFile answers with f, or a part of it, or with what the client's conditions ask for.
func (x *Exchange) sendFile(f *static.File) {
	now := time.Now()
	x.ownHead(200)
	h := x.Response
	modified := f.Modified
	if modified.After(now) {
		modified = now // RFC 9110 section 8.8.2.1
	}
	tag := f.AppendTag(nil, now)
	h.Add(head.ETag, tag)
	h.Add(head.LastModified, field.AppendDate(nil, modified.Unix()))
	if f.Varies {
		h.Add(head.Vary, acceptEncodingText)
	}
	stored := rule.Stored{
		Status: 200, ETag: tag, Modified: modified.Unix(), HasModified: true, Length: f.Size,
	}
	stored.Date = now.Unix()
	request := rule.Request{Head: &x.Request, Method: rule.MethodGet, At: now.UnixNano()}
	x.Result.Cause = CauseFile
	switch stored.Precondition(&request) {
	case rule.NotModified:
		h.SetStatus(304)
		x.send(nil)
		return
	case rule.AskOrigin: // which weir is
		x.fail(412, CauseFile)
		return
	}
	h.Add(head.ContentType, []byte(f.Type))
	if f.Coding != "" {
		h.Add(head.ContentEncoding, []byte(f.Coding))
	}
	h.Add(acceptRanges, []byte("bytes"))
	spans, whole := stored.Spans(&request)
	x.sendSpans(f, spans, whole || string(x.Request.Method()) == "HEAD")
}

var acceptEncodingText = []byte("Accept-Encoding")

// sendSpans sends f whole or these parts of it.
func (x *Exchange) sendSpans(f *static.File, spans []rule.Span, whole bool) {
	runs, length := []body.FileRun{{Size: f.Size}}, f.Size
	switch {
	case whole:
	case len(spans) == 0:
		x.ownHead(416)
		x.Response.Add(contentRange, fmt.Appendf(nil, "bytes */%d", f.Size))
		x.send(nil)
		return
	case len(spans) == 1:
		x.Response.SetStatus(206)
		x.Response.Add(contentRange, fmt.Appendf(nil, "bytes %d-%d/%d", spans[0].First, spans[0].Last, f.Size))
		length = spans[0].Size()
		runs[0] = body.FileRun{Offset: spans[0].First, Size: length}
	default:
		x.Response.SetStatus(206)
		runs, length = x.multipart(f, spans)
	}
	bodyless := x.bodyless(x.Response.Status)
	if bodyless {
		x.sayLength(length)
	}
	if bodyless || length > fileBuffer || len(runs) > 1 {
		end, err := x.reply(body.NewFileParts(f.File, runs), length, bodyless, nil)
		if end == replyBroken {
			x.Result.Err = err
			x.fail(0, CauseTruncated)
		}
		return
	}
	var buf buffer
	defer buf.release()
	buf.take(copyBuffer)
	if n, err := f.ReadAt(buf.bytes[:length], runs[0].Offset); int64(n) < length {
		x.Result.Err = err
		x.fail(500, CauseFileFailed)
		return
	}
	x.send(buf.bytes[:length])
}

// multipart makes Response the head of an answer with several parts.
func (x *Exchange) multipart(f *static.File, spans []rule.Span) (runs []body.FileRun, length int64) {
	fields := rule.AppendField(nil, []byte("Content-Type"), []byte(f.Type))
	s := rule.Stored{Head: fields, End: len(fields), Length: f.Size}
	answer, parts, length := s.AppendMultipart(nil, spans, uint64(f.Modified.UnixNano()))
	_, fields, _ = bytes.Cut(answer, []byte("\r\n"))
	x.Response.Set(head.ContentType, rule.Fields(fields).Get("Content-Type"))
	for _, p := range parts {
		runs = append(runs, body.FileRun{Text: p.Text, Offset: p.First, Size: p.Size()})
	}
	return runs, length
}
