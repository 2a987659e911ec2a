package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"weir/bench/origin"
)

// startOrigin starts what all peers stand in front of, as a process; the caller
// stops r.origin. kind is "nginx", "own", or "auto": nginx if it is there, else our own.
func (r *runner) startOrigin(ctx context.Context, kind string) error {
	program, missing := find("nginx")
	switch {
	case kind == "auto" || kind == "own":
	case kind == "nginx" && missing != nil:
		return fmt.Errorf("cannot find nginx for the origin: apt-get install nginx-light, or give -origin own")
	case kind != "nginx":
		return fmt.Errorf("cannot use origin %q: allowed are auto, nginx, own", kind)
	}
	var err error
	if r.address, err = freeAddress(); err != nil {
		return err
	}
	if missing != nil || kind == "own" {
		r.settings.Origin = "bench/origin"
		r.origin, err = startProcess(ctx, "origin", r.dir, r.address, []string{r.self, "serve-origin", "-listen", r.address, "-unix", r.socket()}, nil)
		return err
	}
	r.settings.Origin = "nginx"
	s := r.base("")
	s.Dir, s.Listen, s.Page = filepath.Join(r.dir, "origin"), r.address, origin.PageFields()
	if err := writeFiles(filepath.Join(s.Dir, "files")); err != nil {
		return err
	}
	conf := filepath.Join(s.Dir, "nginx.conf")
	if err := writeConf("origin-nginx.conf", conf, s); err != nil {
		return err
	}
	argv := []string{program, "-p", s.Dir, "-e", filepath.Join(s.Dir, "error.log"), "-c", conf}
	r.origin, err = startProcess(ctx, "origin", s.Dir, r.address, argv, nil)
	return err
}

// writeFiles makes the files that scenarios ask for.
func writeFiles(dir string) error {
	files := map[string][]byte{}
	for _, n := range []int{1, 1 << 10, 10 << 10, 100 << 10, 1 << 20} {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(i%26)
		}
		files["bytes/"+strconv.Itoa(n)], files["text/"+strconv.Itoa(n)] = b, origin.Text(n)
	}
	for name, b := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot make the origin's folder: %w", err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return fmt.Errorf("cannot write the origin's files: %w", err)
		}
	}
	return nil
}
