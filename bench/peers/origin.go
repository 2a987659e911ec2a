package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// startOrigin starts what all peers stand in front of: nginx if it is there,
// else our own, as a process. kind is "auto", "nginx" or "own"; name says what it is.
func startOrigin(ctx context.Context, kind, dir, self string, s settings) (proc *process, address, name string, err error) {
	program := ""
	for _, candidate := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, lookErr := exec.LookPath(candidate); lookErr == nil && program == "" {
			program = path
		}
	}
	switch {
	case kind == "auto" || kind == "own":
	case kind == "nginx" && program == "":
		return nil, "", "", fmt.Errorf("cannot find nginx for the origin: apt-get install nginx-light, or give -origin own")
	case kind != "nginx":
		return nil, "", "", fmt.Errorf("cannot use origin %q: allowed are auto, nginx, own", kind)
	}
	if address, err = freeAddress(); err != nil {
		return nil, "", "", err
	}
	if program == "" || kind == "own" {
		proc, err = startProcess(ctx, "origin", dir, address, []string{self, "serve-origin", "-listen", address}, nil)
		return proc, address, "bench/origin", err
	}
	s.Dir, s.Listen = filepath.Join(dir, "origin"), address
	if err := writeFiles(filepath.Join(s.Dir, "files", "bytes")); err != nil {
		return nil, "", "", err
	}
	conf := filepath.Join(s.Dir, "nginx.conf")
	if err := writeConf("origin-nginx.conf", conf, s); err != nil {
		return nil, "", "", err
	}
	argv := []string{program, "-p", s.Dir, "-e", filepath.Join(s.Dir, "error.log"), "-c", conf}
	proc, err = startProcess(ctx, "origin", s.Dir, address, argv, nil)
	return proc, address, "nginx", err
}

// writeFiles makes the files that scenarios ask for.
func writeFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make the origin's folder: %w", err)
	}
	for _, n := range []int{1, 1 << 10, 10 << 10, 100 << 10, 1 << 20} {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(i%26)
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), b, 0o644); err != nil {
			return fmt.Errorf("cannot write the origin's files: %w", err)
		}
	}
	return nil
}
