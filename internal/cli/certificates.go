package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
)

func certificatesCommand() *urfave.Command {
	return flagsOnly(showCertificates, &urfave.Command{
		Name:  "certificates",
		Usage: "show the certificates of a running weir, and why one is lacking",
		Flags: askFlags(),
	})
}

func showCertificates(c *urfave.Command) error {
	list, err := ask(c, func(ctx context.Context, weir *admin.Client) ([]admin.Certificate, error) {
		return weir.Certificates(ctx)
	})
	if err != nil || c.Bool(flagJSON) {
		return orPrint(c, list, err)
	}
	rows := table{{"LISTENER", "NAME", "SOURCE", "ISSUER", "ENDS", "NOTE"}}
	for _, one := range list {
		rows.add(one.Listener, one.Name, one.Source, cmp.Or(one.Issuer, "-"), ends(&one), certificateNote(&one))
	}
	return rows.print(c.Root().Writer)
}

// ends says when a certificate ends.
func ends(c *admin.Certificate) string {
	if c.NotAfter == nil {
		return "(none yet)"
	}
	left := time.Until(*c.NotAfter)
	if left > 48*time.Hour {
		return fmt.Sprintf("%s, in %d days", clock(*c.NotAfter), left/(24*time.Hour))
	}
	return clock(*c.NotAfter) + ", in " + left.Round(time.Minute).String()
}

// certificateNote says what is not as it should be with a certificate.
func certificateNote(c *admin.Certificate) string {
	note := c.Error
	if c.Retry != nil {
		note += "; again at " + clock(*c.Retry)
	}
	return note
}
