package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	urfave "github.com/urfave/cli/v3"
)

func versionCommand(version string) *urfave.Command {
	show := func(c *urfave.Command) error {
		info, ok := debug.ReadBuildInfo()
		if !ok {
			info = new(debug.BuildInfo)
		}
		_, err := fmt.Fprintln(c.Root().Writer, versionText(version, info))
		return err
	}
	return flagsOnly(show, &urfave.Command{
		Name:  "version",
		Usage: "print the version, and what it was built with and from",
	})
}

// versionText names the build in one line: the version that the linker was
// told, else that of the module; the version of Go; the operating system and the
// architecture; and the revision of the source, if the go command found one.
func versionText(version string, info *debug.BuildInfo) string {
	if version == "" {
		version = info.Main.Version
	}
	if version == "" {
		version = "(devel)"
	}
	text := fmt.Sprintf("weir %s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
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
