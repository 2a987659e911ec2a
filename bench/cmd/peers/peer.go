package main

import (
	"context"
	"debug/buildinfo"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"

	"weir/bench"
	"weir/bench/origin"
)

// settings is what the configuration templates in conf/ may use.
type settings struct {
	Dir                    string // an empty folder of this process
	Listen                 string // "host:port" for clients
	ListenHost, ListenPort string
	Origin                 string // "host:port"
	OriginHost, OriginPort string
	Metrics                string // "host:port" for metrics, if Scraped
	Admin                  string // "host:port" for the admin API; empty means none
	Cert, Key, Name        string // PEM files and their name; empty means plaintext
	HTTP2                  bool   // clients speak HTTP/2
	Cache                  bool
	Compress               bool           // with gzip
	Logged                 bool           // access log on
	Scraped                bool           // metrics on
	More                   string         // further tables of weir's
	Socket                 string         // the origin's unix socket
	Unix                   bool           // the origin is reached by it
	Pipeline               int            // requests that share a connection to the origin
	Forwarding             bool           // the forwarding fields that weir sends by default
	Page                   []origin.Field // what the origin sends with pages
	Root                   bool           // this runs as root
	Workers                int
	Files, Connections     int // descriptors, client connections at most
}

// peer is a proxy that can be measured.
type peer struct {
	name string
	// program is looked for in PATH; its absence makes the peer missing.
	program string
	// how says how to get a missing program.
	how string
	// version are the arguments that print one.
	version []string
	// conf is the template's name, file what it is written to.
	conf, file string
	// write writes the configuration instead of the template; nil means the template.
	write func(path string, s settings) error
	// argv is the command that runs it; file is the path of its configuration.
	argv func(program, file string, s settings) []string
	// tls, http2, cache and pass say what it can do and is measured at.
	tls, http2, cache, pass bool
	// largest is the largest body that it is measured at; 0 means any.
	largest int64
	// option, if not nil, changes a setting: this is weir once more, and only
	// compared with weir.
	option func(*settings)
	// profiled makes it run with its admin API, which has profiles.
	profiled bool
}

// peers lists all, weir first.
func peers(weir, self string) []peer {
	ours := func(name string, option func(*settings)) peer {
		return peer{
			name: name, program: weir, how: "run `make build`, or give -weir", version: []string{"version"}, conf: "weir.toml", file: "weir.toml",
			argv: func(program, file string, _ settings) []string { return []string{program, "run", "--config", file} },
			tls:  true, http2: true, cache: true, pass: true, option: option,
		}
	}
	return []peer{
		ours("weir", nil),
		ours("weir-observed", func(s *settings) { s.Logged, s.Scraped = true, true }),
		ours("weir-unix", func(s *settings) { s.Unix = true }),
		ours("weir-pipeline", func(s *settings) { s.Pipeline = 16 }),
		ours("weir-both", func(s *settings) { s.Unix, s.Pipeline = true, 16 }),
		{name: "nginx", program: "nginx", how: "apt-get install nginx-light", version: []string{"-v"}, conf: "nginx.conf", file: "nginx.conf",
			argv: func(program, file string, s settings) []string {
				return []string{program, "-p", s.Dir, "-e", filepath.Join(s.Dir, "error.log"), "-c", file}
			}, tls: true, http2: true, cache: true, pass: true},
		{name: "haproxy", program: "haproxy", how: "apt-get install haproxy", version: []string{"-v"}, conf: "haproxy.cfg", file: "haproxy.cfg",
			argv: func(program, file string, s settings) []string {
				return []string{program, "-db", "-f", file}
			}, tls: true, http2: true, cache: true, pass: true},
		{name: "varnish", program: "varnishd", how: "apt-get install varnish", version: []string{"-V"}, conf: "varnish.vcl", file: "bench.vcl",
			argv: func(program, file string, s settings) []string {
				return []string{program, "-F", "-j", "none", "-n", s.Dir, "-a", s.Listen, "-f", file, "-s", "malloc,256m",
					"-p", "thread_pools=" + strconv.Itoa(s.Workers), "-p", "thread_pool_min=50", "-p", "timeout_idle=3600"}
			}, cache: true},
		{name: "caddy", program: "caddy", how: "run `make bench-caddy`", version: []string{"version"}, conf: "Caddyfile", file: "Caddyfile",
			argv: func(program, file string, _ settings) []string {
				return []string{program, "run", "--adapter", "caddyfile", "--config", file}
			}, tls: true, http2: true, pass: true},
		{name: "httputil", program: self, how: "it is part of this command", conf: "", file: "",
			argv: func(program, _ string, s settings) []string {
				return []string{program, "serve-httputil", "-listen", s.Listen, "-to", s.Origin,
					"-cert", s.Cert, "-key", s.Key, fmt.Sprintf("-forwarding=%t", s.Forwarding)}
			}, tls: true, pass: true},
		{name: theFloor, program: self, how: "it is part of this command", conf: "", file: "",
			argv: func(program, _ string, s settings) []string {
				return []string{program, "serve-floor", "-listen", s.Listen, "-to", s.Origin, fmt.Sprintf("-forwarding=%t", s.Forwarding)}
			}, pass: true, largest: 10 << 10},
	}
}

// theFloor is the bare forwarder of bench/floor. It is no peer: it shows what is
// left to gain.
const theFloor = "floor"

// isWeir says whether a peer of this name is weir, with whatever settings.
func isWeir(name string) bool { return name == "weir" || strings.HasPrefix(name, "weir-") }

// find is the program's path, or an error that says how to get it.
func (p peer) find() (string, error) {
	path, err := find(p.program)
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %s", p.name, p.how)
	}
	return path, nil
}

// find looks for a program in PATH, and where Debian puts servers, which only
// root's PATH names.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil && !strings.Contains(program, "/") {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// tell is the first line that names a version.
func (p peer) tell(ctx context.Context) string {
	path, err := p.find()
	if err != nil || len(p.version) == 0 {
		return ""
	}
	out, err := exec.CommandContext(ctx, path, p.version...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if line = strings.TrimSpace(line); line == "unknown" {
		// A Go program built by version: the toolchain has noted which.
		if info, err := buildinfo.ReadFile(path); err == nil {
			return info.Main.Version
		}
	}
	return line
}

//go:embed conf
var confs embed.FS

// writeConf fills the template name in and writes it to path.
func writeConf(name, path string, s settings) error {
	t, err := template.ParseFS(confs, "conf/"+name)
	if err != nil {
		return fmt.Errorf("cannot parse template %q: %w", name, err)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write configuration: %w", err)
	}
	if err := t.Execute(f, s); err != nil {
		_ = f.Close() // the template's error is the one that tells
		return fmt.Errorf("cannot fill in template %q: %w", name, err)
	}
	return f.Close()
}

// start runs the peer in front of s.Origin in a new folder below parent.
func (p peer) start(ctx context.Context, parent string, s settings) (*process, settings, error) {
	program, err := p.find()
	if err != nil {
		return nil, s, err
	}
	if s.Dir, err = os.MkdirTemp(parent, p.name+"-"); err != nil {
		return nil, s, fmt.Errorf("cannot make a folder: %w", err)
	}
	if s.Listen, err = freeAddress(); err != nil {
		return nil, s, err
	}
	if p.option != nil {
		p.option(&s)
	}
	if s.Metrics, err = freeAddress(); err != nil {
		return nil, s, err
	}
	if p.profiled {
		if s.Admin, err = freeAddress(); err != nil {
			return nil, s, err
		}
	}
	if s.ListenHost, s.ListenPort, err = net.SplitHostPort(s.Listen); err != nil {
		return nil, s, err
	}
	if s.OriginHost, s.OriginPort, err = net.SplitHostPort(s.Origin); err != nil {
		return nil, s, err
	}
	s.Name = bench.CertificateName
	file := ""
	if p.conf != "" {
		file = filepath.Join(s.Dir, p.file)
		write := p.write
		if write == nil {
			write = func(path string, s settings) error { return writeConf(p.conf, path, s) }
		}
		if err := write(file, s); err != nil {
			return nil, s, err
		}
	}
	env := []string{"GOMAXPROCS=" + strconv.Itoa(s.Workers), "HOME=" + s.Dir, "XDG_DATA_HOME=" + s.Dir, "XDG_CONFIG_HOME=" + s.Dir}
	proc, err := startProcess(ctx, p.name, s.Dir, s.Listen, p.argv(program, file, s), env)
	return proc, s, err
}
