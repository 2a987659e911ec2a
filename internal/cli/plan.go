package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
	"weir/server"
)

func planCommand() *urfave.Command {
	return flagsOnly(plan, &urfave.Command{
		Name:  "plan",
		Usage: "say what a reload of a running weir would add, drop, change and rebuild, and which connections feel it",
		Flags: askFlags(),
	})
}

func plan(c *urfave.Command) error {
	text, err := ask(c, func(ctx context.Context, weir *admin.Client) (json.RawMessage, error) { return weir.Plan(ctx) })
	if err != nil {
		return err
	}
	p := new(server.Plan)
	if err := json.Unmarshal(text, p); err != nil {
		return fmt.Errorf("cannot use the plan of the running weir, which may be of another version: %w", err)
	}
	if c.Bool(flagJSON) {
		return orPrint(c, p, nil)
	}
	w := c.Root().Writer
	if len(p.Changes) == 0 {
		fmt.Fprintln(w, "a reload changes nothing; certificates and other files are read again")
	}
	rows := table{}
	for _, change := range p.Changes {
		rows.add(change.Do, strings.TrimSpace(change.What+" "+change.Name), strings.Join(change.Keys, ", "), change.Effect)
	}
	if err := rows.print(w); err != nil {
		return err
	}
	if p.Problem != "" {
		return errors.New("a reload would fail: " + p.Problem)
	}
	return nil
}
