// Package docs holds the pages of the documentation that the program itself uses. Package
// server takes the descriptions of metrics from it.
package docs

import _ "embed"

// Metrics is the page of metrics, whose tables have a row for each.
//
//go:embed metrics.md
var Metrics string
