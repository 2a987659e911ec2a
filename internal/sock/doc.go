// Package sock is what weir does with sockets beyond package net: a Stream whose
// reads and writes spare the scheduler's bookkeeping, a look at what waits on a
// socket without reading it, splicing between sockets, files that leave without
// a copy, and deadlines that are set rarely. It knows nothing of HTTP. Packages
// internal/http1 and proxy call it for clients, internal/transport for targets.
package sock
