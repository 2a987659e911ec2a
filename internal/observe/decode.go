package observe

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// decode returns the first limit bytes of a body without its content coding (RFC 9110 section
// 8.4.1); over says that there are more.
func decode(coding string, body []byte, limit int) (plain []byte, over bool, err error) {
	var r io.Reader
	switch coding {
	case "gzip", "x-gzip":
		if r, err = gzip.NewReader(bytes.NewReader(body)); err != nil {
			return nil, false, err
		}
	case "br":
		r = brotli.NewReader(bytes.NewReader(body))
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, false, err
		}
		defer z.Close()
		r = z
	default:
		return nil, false, fmt.Errorf("cannot decode the content coding %q", coding)
	}
	plain, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if len(plain) > limit {
		return plain[:limit], true, nil
	}
	return plain, false, err
}
