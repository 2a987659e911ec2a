// Package grpctest has gRPC's own client and server talk through weir, in its tests. It has no
// code, and is a folder of its own because gRPC takes long to compile.
package grpctest
