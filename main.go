// Weir is a reverse proxy, load balancer and response cache. This package is the
// program, whose commands are in package internal/cli.
package main

import (
	"os"

	"weir/internal/cli"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

func main() { os.Exit(cli.Main(os.Args, version)) }
