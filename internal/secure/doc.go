// Package secure is what both sides of weir need for TLS beyond crypto/tls: files that are
// looked at for changes, revocation lists, keys of session tickets, keys of Encrypted Client
// Hello, and the reading of a ClientHello whose connection is not ended here. It knows
// neither listeners nor targets.
package secure
