package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
)

// The names of the flags of commands that speak to a running weir.
const (
	flagAdmin = "admin"
	flagToken = "token-file"
	flagCA    = "ca"
	flagJSON  = "json"
)

// adminWait is how long a running weir may take to answer a command.
const adminWait = 30 * time.Second

// adminFlags say which weir a command is for.
func adminFlags() []urfave.Flag {
	return []urfave.Flag{
		configFlag("the configuration `FILE` of the running weir"),
		&urfave.StringFlag{Name: flagAdmin, Usage: "the `ADDRESS` of its admin API instead of the file's admin.address; https:// before it means TLS"},
		&urfave.StringFlag{Name: flagToken, Usage: "a `FILE` with the token to show; without it the file's admin.tokens are tried"},
		&urfave.StringFlag{Name: flagCA, Usage: "a PEM `FILE` of authorities that certify the admin API, besides those of the system"},
	}
}

// askFlags are those of commands that print what a running weir says.
func askFlags() []urfave.Flag {
	return append(adminFlags(), &urfave.BoolFlag{Name: flagJSON, Usage: "print JSON, as the admin API has it"})
}

// ask calls the admin API of the running weir.
func ask[T any](c *urfave.Command, call func(context.Context, *admin.Client) (T, error)) (answer T, err error) {
	client, err := adminClient(c)
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminWait)
	defer cancel()
	return call(ctx, client)
}

// printJSON prints what a running weir said.
func printJSON(c *urfave.Command, v any) error {
	e := json.NewEncoder(c.Root().Writer)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// adminClient returns a client of the admin API of the running weir.
func adminClient(c *urfave.Command) (*admin.Client, error) {
	client := new(admin.Client)
	if err := reachByFlags(c, client); err != nil {
		return nil, err
	}
	if client.Address == "" {
		if err := reachByFile(c.String(flagConfig), client); err != nil {
			return nil, err
		}
	}
	if path := c.String(flagToken); path != "" {
		token, err := admin.ReadToken(&config.AdminToken{File: path})
		if err != nil {
			return nil, err
		}
		client.Token = token
	}
	if path := c.String(flagCA); path != "" {
		if client.TLS == nil {
			return nil, usage("--ca is for an admin API with TLS: want https:// before the address of --admin")
		}
		if err := trust(client.TLS, path); err != nil {
			return nil, err
		}
	}
	return client, nil
}

// reachByFlags fills in what --admin says; without it, it leaves the client alone.
func reachByFlags(c *urfave.Command, client *admin.Client) error {
	if !c.IsSet(flagAdmin) {
		return nil
	}
	if c.IsSet(flagConfig) {
		return usage("--admin is for doing without the file: leave out --config")
	}
	const want = `"host:port", "https://host:port" or "unix:/path"`
	text := c.String(flagAdmin)
	address, secure := strings.CutPrefix(text, "https://")
	if err := client.Address.UnmarshalText([]byte(address)); err != nil {
		return usage("--admin: found %q: want %s", text, want)
	}
	network, hostPort := client.Address.Split()
	if network != "tcp" && (network != "unix" || secure) {
		return usage("--admin: found %q: want %s", text, want)
	}
	if secure {
		host, _, _ := net.SplitHostPort(hostPort)
		client.TLS = &tls.Config{ServerName: host}
	}
	return nil
}

// reachByFile fills in what the file at path says about the admin API.
func reachByFile(path string, client *admin.Client) error {
	cfg, err := (&config.Loader{Environ: os.Environ()}).LoadAdmin(path)
	if err != nil {
		return fmt.Errorf("cannot find the admin API: %w", err)
	}
	switch {
	case cfg.Address == "":
		return fmt.Errorf("cannot find the admin API: %s has no admin.address; set it, for example to \"127.0.0.1:9091\", and start weir again or reload it, or name the address by --admin", path)
	case strings.HasSuffix(string(cfg.Address), ":0"):
		return errors.New("cannot find the admin API: admin.address has port 0; name the address that the log of weir has by --admin")
	}
	client.Address = cfg.Address
	if len(cfg.Certificates) > 0 {
		// Its own certificate is believed, whichever authority has signed it.
		client.TLS = new(tls.Config)
		if err := trust(client.TLS, cfg.Certificates[0].Cert); err != nil {
			return err
		}
		client.TLS.ServerName = nameOf(cfg.Certificates[0].Cert)
	}
	// The user may not be allowed to read all of them.
	for i := range cfg.Tokens {
		t := &cfg.Tokens[i]
		if token, err := admin.ReadToken(t); err == nil && (client.Token == "" || t.Role == config.RoleWrite) {
			client.Token = token
		}
	}
	return nil
}

// trust makes cfg believe the certificates of a PEM file besides those of the system.
func trust(cfg *tls.Config, path string) error {
	if cfg.RootCAs == nil {
		var err error
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			cfg.RootCAs = x509.NewCertPool()
		}
	}
	if err := config.AddAuthorities(cfg.RootCAs, path); err != nil {
		return fmt.Errorf("cannot use the certificates that the admin API may show: %w", err)
	}
	return nil
}

// nameOf is a name that the certificate in a PEM file is for; empty if there is none.
func nameOf(path string) string {
	text, err := config.ReadFile(path)
	if err != nil {
		return ""
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return ""
	case len(leaf.DNSNames) > 0:
		return strings.Replace(leaf.DNSNames[0], "*.", "any.", 1)
	case len(leaf.IPAddresses) > 0:
		return leaf.IPAddresses[0].String()
	}
	return ""
}
