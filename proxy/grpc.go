package proxy

import (
	"bytes"

	"weir/internal/head"
)

// isGRPC says whether a message is one of gRPC, and not one of gRPC-Web.
func isGRPC(h *head.Head) bool {
	rest, ok := bytes.CutPrefix(h.Get(head.ContentType), []byte("application/grpc"))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}
