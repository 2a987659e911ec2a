package cli

import (
	"context"
	"fmt"
	"strconv"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/config"
)

func drainCommand() *urfave.Command {
	return withArguments(drainBy(true), &urfave.Command{
		Name:      "drain",
		Usage:     "let a target's running exchanges finish, and send it no new ones",
		ArgsUsage: "UPSTREAM TARGET",
		Flags:     askFlags(),
	}, takes)
}

func undrainCommand() *urfave.Command {
	return withArguments(drainBy(false), &urfave.Command{
		Name:      "undrain",
		Usage:     "end what weir drain began",
		ArgsUsage: "UPSTREAM TARGET",
		Flags:     askFlags(),
	}, takes)
}

func drainBy(on bool) func(*urfave.Command) error {
	return func(c *urfave.Command) error {
		t, err := ask(c, func(ctx context.Context, weir *admin.Client) (admin.Target, error) {
			return weir.Drain(ctx, c.Args().Get(0), c.Args().Get(1), on)
		})
		if err != nil || c.Bool(flagJSON) {
			return orPrint(c, t, err)
		}
		_, err = fmt.Fprintf(c.Root().Writer, "%s is %s, with %s\n", t.Name, t.State, count(t.InFlight, "running exchange"))
		return err
	}
}

// asConfigured is what stands for a weight that is taken back.
const asConfigured = "configured"

func weightCommand() *urfave.Command {
	return withArguments(weigh, &urfave.Command{
		Name:      "weight",
		Usage:     `change a target's weight; "` + asConfigured + `" takes that back`,
		ArgsUsage: "UPSTREAM TARGET WEIGHT",
		Flags:     askFlags(),
	}, takes)
}

func weigh(c *urfave.Command) error {
	text, weight := c.Args().Get(2), 0
	if text != asConfigured {
		var err error
		if weight, err = strconv.Atoi(text); err != nil || weight < 1 || weight > config.MaxWeight {
			return usage("weight: found %q: want 1 to %d or %q; weir drain sends nothing at all", text, config.MaxWeight, asConfigured)
		}
	}
	t, err := ask(c, func(ctx context.Context, weir *admin.Client) (admin.Target, error) {
		return weir.SetWeight(ctx, c.Args().Get(0), c.Args().Get(1), weight)
	})
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, t, err)
	}
	_, err = fmt.Fprintf(c.Root().Writer, "%s has weight %d\n", t.Name, t.Weight)
	return err
}
