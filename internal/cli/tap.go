package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	urfave "github.com/urfave/cli/v3"

	"weir/admin"
)

// The flags of weir tap.
const (
	flagFilter = "filter"
	flagFull   = "full"
	flagHAR    = "har"
	flagCount  = "count"
)

// maxTapped bounds the exchanges that are kept for a HAR file.
const maxTapped = 1000

func tapCommand() *urfave.Command {
	return flagsOnly(tap, &urfave.Command{
		Name:  "tap",
		Usage: "print the exchanges that a running weir records, as they pass, until Ctrl-C",
		Flags: append(askFlags(),
			&urfave.StringFlag{Name: flagFilter, Usage: "only those that fit a `FILTER` such as \"status=5xx route=api\"; see docs/inspect.md"},
			&urfave.BoolFlag{Name: flagFull, Usage: "heads and bodies too"},
			&urfave.StringFlag{Name: flagHAR, Usage: "at the end write the last 1000 to a `FILE` in the format HAR 1.2", TakesFile: true},
			&urfave.IntFlag{Name: flagCount, Usage: "end after `N` exchanges; 0 means never"},
		),
	})
}

func tap(c *urfave.Command) error {
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w, left := c.Root().Writer, c.Int(flagCount)
	counts := left > 0
	var kept []*admin.ExchangeDetail
	err = client.Watch(ctx, c.String(flagFilter), func(list []*admin.ExchangeDetail, dropped int) bool {
		if dropped > 0 {
			fmt.Fprintf(os.Stderr, "weir: %s not shown, because too many came at once\n", count(dropped, "exchange"))
		}
		for _, d := range list {
			if counts && left == 0 {
				return false
			}
			left--
			if err := printExchange(w, c, d); err != nil {
				return false
			}
			if c.String(flagHAR) != "" {
				kept = append(kept, d)
				kept = kept[max(0, len(kept)-maxTapped):]
			}
		}
		return !counts || left > 0
	})
	if path := c.String(flagHAR); path != "" {
		if err := writeHAR(path, kept, c.Root().Version); err != nil {
			return err
		}
	}
	return err
}

func writeHAR(path string, list []*admin.ExchangeDetail, version string) error {
	text, err := json.MarshalIndent(admin.ToHAR(list, version), "", " ")
	if err == nil {
		err = os.WriteFile(path, text, 0o600) // it has what clients have sent
	}
	if err != nil {
		return fmt.Errorf("cannot write the HAR file: %w", err)
	}
	return nil
}

func printExchange(w io.Writer, c *urfave.Command, d *admin.ExchangeDetail) error {
	if c.Bool(flagJSON) {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(d)
	}
	var b strings.Builder
	took := time.Duration(d.Duration * float64(time.Second)).Round(10 * time.Microsecond)
	fmt.Fprintf(&b, "%s %s %d %s %s://%s%s %s, %d bytes", d.Time.Local().Format("15:04:05.000"), d.ID, d.Status, d.Method, d.Scheme, d.Host, d.Target, took, d.BytesOut)
	for _, part := range []struct{ name, value string }{{"route", d.Route}, {"target", d.TargetURL}, {"cache", d.Cache}, {"trace", d.TraceID}} {
		if part.value != "" {
			fmt.Fprintf(&b, ", %s %s", part.name, part.value)
		}
	}
	if !d.OK {
		fmt.Fprintf(&b, ", %s", strings.TrimSuffix(d.Cause+": "+d.Error, ": "))
	}
	b.WriteByte('\n')
	if c.Bool(flagFull) {
		for _, m := range []struct {
			mark    string
			message *admin.Message
		}{{"> ", d.Request}, {"< ", d.Response}} {
			writeMessage(&b, m.mark, m.message)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, printable(b.String()))
	return err
}

func writeMessage(b *strings.Builder, mark string, m *admin.Message) {
	if m == nil {
		return
	}
	fmt.Fprintf(b, "%s%s\n", mark, m.Line)
	for _, f := range m.Fields {
		fmt.Fprintf(b, "%s%s: %s\n", mark, f[0], f[1])
	}
	switch body := m.Body; {
	case body == nil:
	case len(body.Base64) > 0:
		fmt.Fprintf(b, "%s(%d bytes of %s)\n", mark, body.Size, body.Type)
	default:
		fmt.Fprintf(b, "%s\n", mark)
		for line := range strings.Lines(body.Text) {
			fmt.Fprintf(b, "%s%s\n", mark, strings.TrimRight(line, "\r\n"))
		}
		if body.Truncated {
			fmt.Fprintf(b, "%s(cut: %d bytes passed)\n", mark, body.Size)
		}
	}
}

// printable is text without what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && !unicode.IsPrint(c) {
			return unicode.ReplacementChar
		}
		return c
	}, text)
}
