package encode

import (
	"bytes"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxDecoderWindow bounds the memory that a zstd body can make its decoder take (RFC 8878 section
// 3.1.1.1.2).
const maxDecoderWindow = 8 << 20

// Decode returns the first limit bytes of a body without its coding, which is not Identity; over
// says that there are more.
func Decode(c Coding, body []byte, limit int) (plain []byte, over bool, err error) {
	r, err := newDecoder(c, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	defer r.Close()
	plain, err = io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if len(plain) > limit {
		return plain[:limit], true, nil
	}
	return plain, false, err
}

func newDecoder(c Coding, r io.Reader) (io.ReadCloser, error) {
	switch c {
	case Gzip:
		return gzip.NewReader(r)
	case Brotli:
		return io.NopCloser(brotli.NewReader(r)), nil
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxDecoderWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	panic("BUG: a coding without a decoder: " + c.String())
}
