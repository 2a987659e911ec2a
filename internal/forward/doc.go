// Package forward changes the header fields of messages on their way through
// weir: it removes the fields that end at this hop, tells targets who the client
// was, and applies the header rules of routes. It works on heads of any version of
// HTTP, scanned or filled, and knows nothing of routes, targets and bodies. proxy
// calls it for both directions, and front ends make the Peer of each connection.
package forward
