package cli

import (
	"fmt"
	"os"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
	"weir/internal/importer"
	"weir/server"
)

func importCommand() *urfave.Command {
	return withArguments(translate, &urfave.Command{
		Name:      "import",
		Usage:     "translate a configuration of nginx, HAProxy, Caddy or Traefik, and name what is not translated, with exit status 3",
		ArgsUsage: "PROGRAM FILE",
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "without-limits", Usage: "leave out limits on rates and connections that weir does not have, instead of closing their routes; they are named all the same"},
		},
		UsageText: "weir import nginx /etc/nginx/nginx.conf > config.toml\nweir import haproxy /etc/haproxy/haproxy.cfg\nweir import caddy /etc/caddy/Caddyfile\nweir import traefik traefik.yml",
	}, takes)
}

// translate prints a configuration of weir; what is not translated stands in it as comments,
// and on standard error.
func translate(c *urfave.Command) error {
	r, err := importer.Import(c.Args().Get(0), c.Args().Get(1), importer.Options{WithoutLimits: c.Bool("without-limits")}, func(text []byte) error {
		_, err := config.Parse("the translation", text, server.CheckParts)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := c.Root().Writer.Write(r.Text); err != nil {
		return err
	}
	for _, n := range r.Notes {
		fmt.Fprintln(os.Stderr, n)
	}
	// Files of the other program may be on another machine, so they do not end the translation.
	if _, err := config.Parse("the translation", r.Text, server.CheckFiles); err != nil {
		fmt.Fprintf(os.Stderr, "on this machine weir check would say:\n%v\n", err)
	}
	if n := len(r.Notes); n > 0 {
		return partError{fmt.Errorf("%s not translated, or not exactly; see above, and the comments in the output", count(n, "thing"))}
	}
	return nil
}
