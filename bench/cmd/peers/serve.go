package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"weir/bench/baseline"
	"weir/bench/floor"
	"weir/bench/origin"
)

// servers are what this program is when its first argument is their name.
func servers() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"serve-httputil": serveHTTPUtil, "serve-floor": serveFloor, "serve-origin": serveOrigin,
	}
}

// serveHTTPUtil is this program as the httputil peer's process.
func serveHTTPUtil(args []string) error {
	fs := flag.NewFlagSet("serve-httputil", flag.ExitOnError)
	listen := fs.String("listen", "", "address for clients")
	to := fs.String("to", "", "the origin's host:port")
	cert := fs.String("cert", "", "certificate; empty means plaintext")
	key := fs.String("key", "", "its key")
	forwarding := fs.Bool("forwarding", false, "send forwarding fields")
	if err := fs.Parse(args); err != nil {
		return err
	}
	opt := baseline.Options{Target: *to, Forwarding: *forwarding}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return fmt.Errorf("cannot load certificate %q: %w", *cert, err)
		}
		opt.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %q: %w", *listen, err)
	}
	if opt.TLS != nil {
		ln = tls.NewListener(ln, opt.TLS)
	}
	srv := baseline.New(opt)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("cannot serve: %w", err)
	case <-terminated():
	}
	if err := srv.Close(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot close: %w", err)
	}
	return nil
}

// serveFloor is this program as the floor's process.
func serveFloor(args []string) error {
	fs := flag.NewFlagSet("serve-floor", flag.ExitOnError)
	listen := fs.String("listen", "", "address for clients")
	to := fs.String("to", "", "the origin's host:port")
	forwarding := fs.Bool("forwarding", false, "send forwarding fields")
	if err := fs.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("cannot listen on %q: %w", *listen, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- floor.Serve(ln, floor.Options{Target: *to, Forwarding: *forwarding}) }()
	select {
	case err := <-ended:
		return err
	case <-terminated():
		return nil
	}
}

// serveOrigin is this program as the origin's process. -count makes it listen
// on that many addresses of originAddresses, from -listen's group.
func serveOrigin(args []string) error {
	fs := flag.NewFlagSet("serve-origin", flag.ExitOnError)
	listen := fs.String("listen", "", "address for clients, or the first of -count")
	count := fs.Int("count", 1, "number of addresses")
	unix := fs.String("unix", "", "unix socket to listen on too; empty means none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	s := origin.New()
	defer s.Close()
	addresses := []string{*listen}
	if *count > 1 {
		var group int
		if _, err := fmt.Sscanf(*listen, "127.%d.", &group); err != nil {
			return fmt.Errorf("cannot read a group of addresses from %q: %w", *listen, err)
		}
		addresses = originAddresses(group-20, *count)
	}
	listenOn := func(network, address string) error {
		ln, err := net.Listen(network, address)
		if err != nil {
			return fmt.Errorf("cannot listen on %q: %w", address, err)
		}
		s.Serve(ln)
		return nil
	}
	if *unix != "" {
		if err := listenOn("unix", *unix); err != nil {
			return err
		}
	}
	for _, address := range addresses {
		if err := listenOn("tcp", address); err != nil {
			return err
		}
	}
	<-terminated()
	return nil
}

// terminated delivers the signal that ends a server of this program.
func terminated() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c
}
