package cli

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestVersionText(t *testing.T) {
	platform := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	check := func(version, module, revision, modified, name, source string) {
		t.Helper()
		info := &debug.BuildInfo{Main: debug.Module{Version: module}}
		if revision != "" {
			info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
		}
		want := "weir " + name + platform + source
		if got := versionText(version, info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// The linker's version comes before the module's.
	check("v1.2.3", "v1.0.0", "", "", "v1.2.3", "")
	check("", "v1.0.0", "", "", "v1.0.0", "")
	check("", "", "", "", "(devel)", "")
	// A build from a repository says from which revision.
	check("v1.2.3", "", "0123abcd", "false", "v1.2.3", " revision 0123abcd")
	check("v1.2.3", "", "0123abcd", "true", "v1.2.3", " revision 0123abcd modified")
}
