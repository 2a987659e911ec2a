// Package header changes the header fields of messages on their way through: it
// removes what ends at this hop, tells targets who the client was, and applies
// the rules of routes. It works on fasthttp's header structs, touches only what
// the scan of the raw head has seen, and knows nothing of routes or bodies.
// proxy calls it for both directions; cache uses its names.
package header
