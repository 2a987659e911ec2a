package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
)

// The names of the flags of commands that speak to a running weir.
const (
	flagAdmin = "admin"
	flagJSON  = "json"
)

// adminWait is how long a running weir may take to answer a command.
const adminWait = 30 * time.Second

// adminFlags say which weir a command is for.
func adminFlags() []urfave.Flag {
	return []urfave.Flag{
		configFlag("the configuration `FILE` of the running weir"),
		&urfave.StringFlag{Name: flagAdmin, Usage: "the `ADDRESS` of its admin API instead of the file's admin.address"},
	}
}

// askFlags are those of commands that print what a running weir says.
func askFlags() []urfave.Flag {
	return append(adminFlags(), &urfave.BoolFlag{Name: flagJSON, Usage: "print JSON, as the admin API has it"})
}

// ask calls the admin API of the running weir.
func ask[T any](c *urfave.Command, call func(context.Context, *admin.Client) (T, error)) (answer T, err error) {
	address, err := adminAddress(c)
	if err != nil {
		return answer, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminWait)
	defer cancel()
	return call(ctx, &admin.Client{Address: address})
}

// printJSON prints what a running weir said.
func printJSON(c *urfave.Command, v any) error {
	e := json.NewEncoder(c.Root().Writer)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// adminAddress returns where the admin API of the running weir should be.
func adminAddress(c *urfave.Command) (config.Address, error) {
	var address config.Address
	if c.IsSet(flagAdmin) {
		if c.IsSet(flagConfig) {
			return "", usage("--admin is for doing without the file: leave out --config")
		}
		const want = `"host:port" or "unix:/path"`
		text := c.String(flagAdmin)
		if err := address.UnmarshalText([]byte(text)); err != nil {
			return "", usage("--admin: found %q: want %s", text, want)
		}
		if network, _ := address.Split(); network != "tcp" && network != "unix" {
			return "", usage("--admin: found %q: want %s", text, want)
		}
		return address, nil
	}
	path := c.String(flagConfig)
	address, err := config.LoadAdmin(path)
	if err != nil {
		return "", fmt.Errorf("cannot find the admin API: %w", err)
	}
	switch {
	case address == "":
		return "", fmt.Errorf("cannot find the admin API: %s has no admin.address; set it, or name the address by --admin", path)
	case strings.HasSuffix(string(address), ":0"):
		return "", errors.New("cannot find the admin API: admin.address has port 0; name the address that the log of weir has by --admin")
	}
	return address, nil
}
