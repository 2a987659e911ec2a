package static

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/config"
)

func TestName(t *testing.T) {
	for path, want := range map[string]string{
		"/":                      ". true",
		"/a":                     "a false",
		"/a/b.html":              "a/b.html false",
		"/a/":                    "a true",
		"/a%20b/%C3%BC":          "a b/ü false",
		"/~user/a;b=c":           "~user/a;b=c false",
		"/.well-known/acme/x":    ".well-known/acme/x false",
		"/a..b/...":              "",
		"/..a":                   "",
		"":                       "",
		"a":                      "",
		"*":                      "",
		"//":                     "",
		"//a":                    "",
		"/a//b":                  "",
		"/a/..":                  "",
		"/../a":                  "",
		"/%2e%2E/a":              "",
		"/a/./b":                 "",
		"/a%2Fb":                 "",
		"/a%5Cb":                 "",
		"/a\\b":                  "",
		"/a%00":                  "",
		"/a%0a":                  "",
		"/a%7f":                  "",
		"/a%":                    "",
		"/a%2":                   "",
		"/a%zz":                  "",
		"/.git/config":           "",
		"/a/.htaccess":           "",
		"/%2egit/config":         "",
		"/a/.well-known/x":       "",
		"/.well-known/.htaccess": "",
	} {
		name, slash, ok := Name([]byte(path), false)
		got := ""
		if ok {
			got = name + " " + map[bool]string{true: "true", false: "false"}[slash]
		}
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
	if name, _, ok := Name([]byte("/.git/..."), true); name != ".git/..." || !ok {
		t.Errorf("hidden: %q %v", name, ok)
	}
}

// A name stays in its folder and says nothing that the file system reads in another way.
func FuzzName(f *testing.F) {
	for _, path := range []string{"/", "/a/b", "/%2e%2e/x", "/a%2fb", "/..;/x", "//a", "/a/", "/%c0%ae%c0%ae/x", "/.well-known/a", "/a\x00", "/%00"} {
		f.Add(path, false)
		f.Add(path, true)
	}
	f.Fuzz(func(t *testing.T, path string, hidden bool) {
		name, _, ok := Name([]byte(path), hidden)
		if !ok {
			return
		}
		if !filepath.IsLocal(name) || filepath.Clean(name) != name || strings.ContainsAny(name, "\\\x00") {
			t.Errorf("%q: %q", path, name)
		}
		if name == "." {
			return
		}
		for i, segment := range strings.Split(name, "/") {
			if segment[0] == '.' && !hidden && !(i == 0 && segment == ".well-known") || segment == "." || segment == ".." || segment == "" {
				t.Errorf("%q: %q", path, name)
			}
		}
		if strings.Count(name, "/") > strings.Count(path, "/") {
			t.Errorf("%q has become deeper: %q", path, name)
		}
	})
}

// tree makes files: names and contents; a content that begins with "->" is that of a link.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	old := time.Now().Add(-time.Hour)
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(root, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if link, ok := strings.CutPrefix(files[i+1], "->"); ok {
			err = os.Symlink(link, path)
		} else if err = os.WriteFile(path, []byte(files[i+1]), 0o644); err == nil {
			err = os.Chtimes(path, old, old)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func open(c config.Files, path string, accepted ...string) string {
	f, err := New(&c).Open([]byte(path), func(coding string) bool { return strings.Contains(strings.Join(accepted, " "), coding) })
	switch {
	case errors.Is(err, ErrNone):
		return "none"
	case errors.Is(err, ErrSlash):
		return "slash"
	case err != nil:
		return err.Error()
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	text := string(b) + " " + f.Type
	if f.Coding != "" {
		text += " " + f.Coding
	}
	if f.Varies {
		text += " varies"
	}
	return text
}

func TestOpen(t *testing.T) {
	outside := tree(t, "secret", "secret")
	root := tree(t,
		"index.html", "home", "a.css", "css", "A.JS", "js", "none", "bytes", "dir/index.htm", "in dir", "empty/x", "x",
		"z.css", "plain", "z.css.br", "br", "z.css.gz", "gz", "only.css.gz", "only",
		"link", "->a.css", "out", "->"+filepath.Join(outside, "secret"), "outdir", "->"+outside, "up/out", "->../../x", "broken", "->nowhere",
		"loop", "->loop", ".hidden", "hidden", ".well-known/x", "known")
	c := config.Files{Root: root, Index: config.Strings{"index.html", "index.htm"}, Types: map[string]string{".css": "text/x-css"}}
	check := func(want, path string, accepted ...string) {
		t.Helper()
		if got := open(c, path, accepted...); got != want {
			t.Errorf("%s %v: %q, want %q", path, accepted, got, want)
		}
	}
	check("home text/html; charset=utf-8", "/")
	check("css text/x-css", "/a.css")
	check("js text/javascript; charset=utf-8", "/A.JS")
	check("bytes application/octet-stream", "/none")
	check("in dir text/html; charset=utf-8", "/dir/")
	check("slash", "/dir")
	check("none", "/empty/")
	check("none", "/a.css/")
	check("none", "/a.css/x")
	check("none", "/nowhere")
	check("css application/octet-stream", "/link")
	for _, path := range []string{"/out", "/outdir/secret", "/outdir/", "/outdir", "/up/out", "/broken", "/loop", "/.hidden", "/" + strings.Repeat("x", 5000)} {
		check("none", path)
	}
	check("known application/octet-stream", "/.well-known/x")
	check("plain text/x-css", "/z.css", "gzip")
	c.Precompressed = true
	check("br text/x-css br varies", "/z.css", "gzip", "br")
	check("gz text/x-css gzip varies", "/z.css", "gzip")
	check("plain text/x-css varies", "/z.css", "zstd")
	check("none", "/only.css", "gzip")
	check("only application/gzip", "/only.css.gz", "gzip")
	// A sibling that is older was made of something else.
	if err := os.Chtimes(filepath.Join(root, "z.css"), time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	check("plain text/x-css", "/z.css", "gzip", "br")
	c.Fallback = "/index.html"
	check("home text/html; charset=utf-8", "/app/page")
	check("none", "/.hidden")
	check("slash", "/dir")
	c.Hidden = true
	check("hidden application/octet-stream", "/.hidden")
	// A link to the folder that is turned is followed at once.
	link := filepath.Join(t.TempDir(), "current")
	c = config.Files{Root: link}
	for _, content := range []string{"one", "two"} {
		os.Remove(link)
		if err := os.Symlink(tree(t, "f", content), link); err != nil {
			t.Fatal(err)
		}
		check(content+" application/octet-stream", "/f")
	}
}

// What is no regular file is not there, and weir does not wait for its writer.
func TestOpenPipe(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := open(config.Files{Root: root}, "/pipe"); got != "none" {
		t.Error(got)
	}
}

func TestTag(t *testing.T) {
	now := time.Unix(1000, 0)
	tag := func(age time.Duration, size int64, coding string) string {
		f := File{Size: size, Modified: now.Add(-age), Coding: coding}
		return string(f.AppendTag(nil, now))
	}
	seen := map[string]bool{}
	for _, tag := range []string{tag(time.Hour, 1, ""), tag(time.Hour, 2, ""), tag(time.Hour+1, 1, ""), tag(time.Hour, 1, "br"), tag(time.Second, 1, "")} {
		if seen[tag] {
			t.Errorf("%s is there twice", tag)
		}
		seen[tag] = true
	}
	if !strings.HasPrefix(tag(time.Second, 1, ""), "W/") || strings.HasPrefix(tag(3*time.Second, 1, ""), "W/") {
		t.Error("a file that has just changed has a strong tag, or an old one a weak one")
	}
}

// A file that weir may not read is not the same as one that is not there.
func TestDenied(t *testing.T) {
	root := tree(t, "f", "f", "g", "g")
	if err := os.Chmod(filepath.Join(root, "f"), 0); err != nil {
		t.Fatal(err)
	}
	withoutPrivileges(t, root)
	folder := New(&config.Files{Root: root})
	if _, err := folder.Open([]byte("/f"), nil); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	f, err := folder.Open([]byte("/g"), nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
