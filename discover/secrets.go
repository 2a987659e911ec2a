package discover

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"strings"

	"weir/config"
)

// TLSFiles are the options of a URL that are about TLS: "ca", "cert" and "key" are PEM files,
// "server_name" is verified in place of the host. What is empty has the default of crypto/tls.
type TLSFiles struct {
	ca, cert, key, serverName string
}

// TLS returns the options that are about TLS.
func (q *Query) TLS() TLSFiles {
	f := TLSFiles{ca: q.file("ca"), cert: q.file("cert"), key: q.file("key"), serverName: q.Text("server_name")}
	if (f.cert == "") != (f.key == "") {
		q.Wrong("cert", "cert and key, which belong together")
	}
	return f
}

// Given says whether any of the options is given.
func (f TLSFiles) Given() bool { return f != TLSFiles{} }

// Load reads the files. A source calls it when it connects, so that files may be replaced.
func (f TLSFiles) Load() (*tls.Config, error) {
	c := &tls.Config{ServerName: f.serverName}
	var err error
	if c.RootCAs, err = config.LoadAuthorities(f.ca); err != nil {
		return nil, err
	}
	if f.cert != "" {
		pair, err := config.LoadKeyPair(f.cert, f.key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Secret is a file with a password or token. The zero Secret is none.
type Secret struct{ path string }

// Secret returns the option that names the file of a password or token.
func (q *Query) Secret(name string) Secret { return Secret{q.file(name)} }

// Login returns the options "user" and "password_file", which belong together. The user is "" and
// the Secret zero if neither is given.
func (q *Query) Login() (user string, password Secret) {
	user, password = q.Text("user"), q.Secret("password_file")
	if (user != "") != password.Given() {
		q.Wrong("user", "user and password_file, which belong together")
	}
	return user, password
}

// Given says whether there is a file.
func (s Secret) Given() bool { return s.path != "" }

// Read returns the first line of the file, or "" without a file. A source calls it each time that
// it needs the secret, so that the file may be replaced.
func (s Secret) Read() (string, error) {
	if s.path == "" {
		return "", nil
	}
	text, err := config.ReadFile(s.path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimSpace(line); line == "" {
		return "", fmt.Errorf("%s is empty", s.path)
	}
	return line, nil
}

// file returns the option that names a file.
func (q *Query) file(name string) string {
	path := q.Text(name)
	if path != "" && !filepath.IsAbs(path) {
		q.Wrong(name, "an absolute path")
	}
	return path
}
