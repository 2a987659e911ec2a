package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	urfave "github.com/urfave/cli/v3"
)

func versionCommand(version string) *urfave.Command {
	return flagsOnly(func(c *urfave.Command) error { return showVersion(c, version) }, &urfave.Command{
		Name:  "version",
		Usage: "print the version, and what it was built with and from",
	})
}

func showVersion(c *urfave.Command, version string) error {
	_, err := fmt.Fprintln(c.Root().Writer, versionText(version, buildInfo()))
	return err
}

func buildInfo() *debug.BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return info
}

// versionOf is the version that the linker was told, else that of the module.
func versionOf(version string, info *debug.BuildInfo) string {
	return cmp.Or(version, info.Main.Version, "(devel)")
}

// versionText names the build in one line: the version that the linker was
// told, else that of the module; the version of Go; the operating system and the
// architecture; and the revision of the source, if the go command found one.
func versionText(version string, info *debug.BuildInfo) string {
	text := fmt.Sprintf("weir %s %s %s/%s", versionOf(version, info), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		text += " revision " + revision
	}
	if settings["vcs.modified"] == "true" {
		text += " modified"
	}
	return text
}
