package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v3"

	"weir/config"
	"weir/internal/acme"
)

// flagPEM is the flag of weir trust that prints the certificate itself.
const flagPEM = "pem"

// trustWithin bounds reading the storage.
const trustWithin = 10 * time.Second

func trustCommand() *urfave.Command {
	return flagsOnly(showTrust, &urfave.Command{
		Name:  "trust",
		Usage: `say where the CA of tls = "internal" is, and how to make programs trust it`,
		Flags: []urfave.Flag{
			configFlag("the configuration `FILE`; without one it is where weir run --domain keeps certificates"),
			&urfave.BoolFlag{Name: flagPEM, Usage: "print the certificate of the CA instead"},
		},
	})
}

// showTrust prints the certificate of the local CA, or how to trust it.
func showTrust(c *urfave.Command) error {
	where := ""
	if path := c.String(flagConfig); c.IsSet(flagConfig) || fileExists(path) {
		cfg, err := load(path)
		if err != nil {
			return err
		}
		where = cfg.Certificates.Storage
	}
	storage, err := acme.Open(where, certificatesFolder(os.Getenv), storageOpeners())
	if err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), trustWithin)
	defer done()
	text, file, err := acme.Root(ctx, storage)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no CA in %s yet: the first start of a weir with tls = \"internal\" makes it (under another user it may be elsewhere: see certificates.storage)", place(file, where))
	}
	if err != nil {
		return fmt.Errorf("cannot read the CA in %s: %w", place(file, where), err)
	}
	w := c.Root().Writer
	if c.Bool(flagPEM) {
		_, err = w.Write(text)
		return err
	}
	if file == "" {
		file = "weir-local-ca.crt"
		fmt.Fprintf(w, "The CA is in %s. Make a file of it:\n\n    weir trust --pem --config %s > %s\n\n", place("", where), c.String(flagConfig), file)
	} else if full, err := filepath.Abs(file); err == nil {
		file = full
	}
	_, err = fmt.Fprint(w, strings.ReplaceAll(howToTrust, "FILE", file))
	return err
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// place is where the CA is, for people.
func place(file, where string) string {
	if file != "" {
		return file
	}
	return config.DisplayURL(where)
}

const howToTrust = `The CA of tls = "internal" is for development: whoever can read the storage of certificates can pretend to be
any site to those who trust it. Its certificate is

    FILE

Debian, Ubuntu:
    sudo cp FILE /usr/local/share/ca-certificates/weir-local-ca.crt && sudo update-ca-certificates
Fedora, RHEL:
    sudo cp FILE /etc/pki/ca-trust/source/anchors/weir-local-ca.crt && sudo update-ca-trust
macOS:
    sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain FILE
Windows, as administrator:
    certutil -addstore -f Root FILE
Chromium on Linux (package libnss3-tools):
    certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n weir-local-ca -i FILE
Firefox (package libnss3-tools; PROFILE is a folder of about:profiles):
    certutil -d sql:PROFILE -A -t C,, -n weir-local-ca -i FILE
One call of curl, or a program with Node.js:
    curl --cacert FILE https://localhost/
    NODE_EXTRA_CA_CERTS=FILE node app.js
`
