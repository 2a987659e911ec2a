package config

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrorPages are files that are sent in place of the short text of an error.
type ErrorPages struct {
	// Files are the files by status ("404") or class ("5xx"); a status comes before its class. They
	// are read at the start and at each reload, and have at most 1 MiB. The ending of a
	// file's name says its type.
	Files map[string]string `toml:"files"`
	// Targets sends the files in place of the errors of targets, too, with the target's status. Not on
	// routes with a cache.
	Targets bool `toml:"targets"`
}

// MaxErrorPage bounds the file of an error page, in bytes.
const MaxErrorPage = 1 << 20

func (e *ErrorPages) validate(at keyPath) {
	for _, status := range slices.Sorted(maps.Keys(e.Files)) {
		class, isClass := strings.CutSuffix(status, "xx")
		n, err := strconv.Atoi(status)
		if isClass && class != "4" && class != "5" || !isClass && (err != nil || len(status) != 3 || n < 400 || n > 599) {
			at.key("files").wrong(status, strconv.Quote(status), `a status from "400" to "599", "4xx" or "5xx"`)
		}
		at.key("files").file(status, e.Files[status])
		if info, err := os.Stat(e.Files[status]); err == nil && info.Size() > MaxErrorPage {
			at.key("files").wrong(status, strconv.FormatInt(info.Size(), 10)+" bytes", "a file of at most 1 MiB")
		}
	}
}
