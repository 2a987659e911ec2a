// Package static finds the file of a folder that a request's path names: within the folder,
// whatever the path and the links in the folder say. Package proxy sends what it finds; the
// package knows nothing of requests but the path and what codings the client takes.
package static
