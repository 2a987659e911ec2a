package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
)

const flagReady = "ready"

// healthWait is how long weir may take to answer weir health.
const healthWait = 5 * time.Second

func healthCommand() *urfave.Command {
	return flagsOnly(health, &urfave.Command{
		Name:  "health",
		Usage: "ask a weir on this machine whether it serves, as containers do",
		Flags: []urfave.Flag{
			configFlag("the configuration `FILE` of the running weir"),
			&urfave.BoolFlag{Name: flagReady, Usage: "succeed only if it is ready for clients, which it is not while it drains"},
		},
	})
}

// health asks the page of metrics, or connects to the first listener if there is no such page.
func health(c *urfave.Command) error {
	loader := config.Loader{Environ: os.Environ(), Optional: !c.IsSet(flagConfig)}
	cfg, err := loader.LoadParts(c.String(flagConfig), "metrics", "listeners")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthWait)
	defer cancel()
	said := "a connection is accepted"
	switch {
	case cfg.Metrics.Address != "":
		path := "/-/healthy"
		if c.Bool(flagReady) {
			path = "/-/ready"
		}
		said, err = askPage(ctx, cfg.Metrics.Address, path)
	case c.Bool(flagReady):
		return fmt.Errorf("cannot find out whether weir is ready: %s has no metrics.address", c.String(flagConfig))
	case len(cfg.Listeners) == 0:
		return fmt.Errorf("cannot find weir: %s has neither metrics.address nor a listener", c.String(flagConfig))
	default:
		var conn net.Conn
		if conn, err = dialAddress(ctx, cfg.Listeners[0].Address); err == nil {
			conn.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("weir does not serve: %w", err)
	}
	_, err = fmt.Fprintln(c.Root().Writer, said)
	return err
}

// askPage returns what the page at an address says.
func askPage(ctx context.Context, address config.Address, path string) (string, error) {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialAddress(ctx, address) }}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	said := strings.TrimSpace(string(text))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("it says %s: %s", answer.Status, said)
	}
	return said, err
}

// dialAddress connects to where weir listens. An address without a host, or with one that stands for all
// addresses, is reached on this machine.
func dialAddress(ctx context.Context, address config.Address) (net.Conn, error) {
	network, text := address.Split()
	if network != "tcp" && network != "unix" {
		return nil, fmt.Errorf("cannot connect to %q: want \"host:port\", \":port\" or \"unix:/path\"", address)
	}
	return new(net.Dialer).DialContext(ctx, network, text)
}
