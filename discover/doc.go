// Package discover finds the targets of upstreams at run time. A Source reports the
// endpoints that it finds; a Follower runs the sources of one upstream, over all
// generations of the configuration, and gives what they report to the upstream's
// SetEndpoints.
//
// It judges no target and makes no connection to any. Packages below discover have the
// sources and their client libraries; package server has a Follower for each upstream
// with sources. To write a source is to implement Source: what goes wrong, again and
// again or for good, is the Follower's business.
//
// # What stays when
//
//   - A source fails: the endpoints that it last reported stay. The Follower runs the
//     source again, after a wait that grows.
//   - The configuration is reloaded: a source with the same ID goes on, and notices nothing.
//   - A source is replaced by another one: its endpoints stay until all sources of the
//     new configuration have reported, so that no request comes to an empty upstream.
//   - The last source is removed: its endpoints go at once. So they do when the
//     upstream is removed.
//   - Two sources report the same URL: the one that comes first in the configuration says
//     what weight the target has. A target of the configuration comes before both.
package discover
