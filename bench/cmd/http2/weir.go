package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/bench"
)

// proxy is a weir that was started, with an origin behind it.
type proxy struct {
	cmd     *exec.Cmd
	dir     string
	origin  *origin
	secure  *tls.Config
	address string // for clients
	metrics string
}

const configuration = `
[[listeners]]
name = "main"
address = %q
certificates = [{ cert = %q, key = %q }]
timeouts = { grace = "2s", header = "2s", idle = "1h" }
[[routes]]
path = "%s/"
strip_prefix = true
upstream = "framed"
[[routes]]
upstream = "origin"
[upstreams.origin]
targets = ["http://%s"]
timeouts = { first_byte = "10m", connect = "1m" }
connections.max = 0
[upstreams.framed]
targets = ["h2c://%s"]
[metrics]
address = %q
[access_log]
output = "off"
`

// startWeir starts the program with limits that are short enough to be seen.
func startWeir(program string) (*proxy, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	p := &proxy{}
	if p.dir, err = os.MkdirTemp("", "weir-http2-"); err != nil {
		return nil, err
	}
	if p.origin, err = startOrigin(); err != nil {
		return nil, err
	}
	cert, key, err := bench.MakeCertificate()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	p.secure = &tls.Config{RootCAs: pool, ServerName: bench.CertificateName, NextProtos: []string{"h2"}}
	certFile, keyFile, file := filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem"), filepath.Join(p.dir, "weir.toml")
	addresses, err := bench.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	p.address, p.metrics = addresses[0], addresses[1]
	for name, content := range map[string]string{certFile: string(cert), keyFile: string(key), file: fmt.Sprintf(configuration, p.address, certFile, keyFile, framedPath, p.origin.address(), p.origin.address(), p.metrics)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	p.cmd = exec.Command(program, "run", "--config", file)
	var log bytes.Buffer
	p.cmd.Stderr = &log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for range 500 {
		if r, err := plain.Get("http://" + p.metrics + "/metrics"); err == nil {
			r.Body.Close()
			return p, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("weir does not start:\n%s", log.String())
}

func (p *proxy) stop() {
	p.cmd.Process.Signal(syscall.SIGKILL)
	p.cmd.Wait()
	p.origin.ln.Close()
	os.RemoveAll(p.dir)
}

// resident is weir's resident memory in KiB.
func (p *proxy) resident() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, _ := strconv.ParseFloat(strings.Fields(rest + " 0")[0], 64)
	return n
}

// cpu is the processor time that weir has used, of which the kernel knows hundredths of a second.
func (p *proxy) cpu() time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// plain asks for no compression, for which weir would need memory.
var plain = http.Client{Transport: &http.Transport{DisableCompression: true}}

// ended are what weir_listener_ended_total counts, by reason.
func (p *proxy) ended() map[string]int {
	r, err := plain.Get("http://" + p.metrics + "/metrics")
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	found := make(map[string]int)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		_, reason, is := strings.Cut(name, `reason="`)
		if is && strings.HasPrefix(name, "weir_listener_ended_total{") {
			found[strings.TrimSuffix(reason, `"`)], _ = strconv.Atoi(value)
		}
	}
	return found
}
