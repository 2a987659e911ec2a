package cli

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
	"weir/server"
)

const (
	flagPublicName = "public-name"
	flagOutput     = "output"
)

func echCommand() *urfave.Command {
	return flagsOnly(makeECH, &urfave.Command{
		Name:  "ech",
		Usage: "make a key of Encrypted Client Hello, and print what its HTTPS record says",
		Flags: []urfave.Flag{
			&urfave.StringFlag{Name: flagPublicName, Usage: "the `NAME` that observers see; the listener needs a certificate for it"},
			&urfave.StringFlag{Name: flagOutput, Usage: "the new `FILE` for the key; without it the key is printed"},
		},
	})
}

// makeECH makes a key.
func makeECH(c *urfave.Command) error {
	name := c.String(flagPublicName)
	if name == "" {
		return usage("found no --%s: want the name that observers are to see, such as %q", flagPublicName, "example.org")
	}
	// Clients pass over a configuration with another name (RFC 9849 section 6.1.7).
	if !config.IsDNSName(name) || strings.HasSuffix(name, ".") {
		return usage("--%s: found %q: want a host name such as %q", flagPublicName, name, "example.org")
	}
	file, list, err := server.NewECH(name)
	if err != nil {
		return err
	}
	w := c.Root().Writer
	path := c.String(flagOutput)
	if path == "" {
		if _, err := w.Write(file); err != nil {
			return err
		}
	} else if err := writeNew(path, file); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "ech=\"%s\"\n", base64.StdEncoding.EncodeToString(list))
	return err
}

// writeNew writes a file that only its owner can read, and that must not be there.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
