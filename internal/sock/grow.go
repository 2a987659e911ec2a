package sock

import (
	"bufio"
	"bytes"
	"io"
)

// Grow returns a reader of the given buffer size over src that first yields
// what br has buffered. br must not be used afterwards. It is for the rare head
// that does not fit the usual buffer.
func Grow(br *bufio.Reader, src io.Reader, size int) *bufio.Reader {
	held, _ := br.Peek(br.Buffered())
	first := bytes.NewReader(bytes.Clone(held))
	grown := bufio.NewReaderSize(io.MultiReader(first, src), size)
	// Fill it now, so that Buffered says what there is.
	grown.Peek(len(held))
	return grown
}
