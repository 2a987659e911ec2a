package cli

import (
	"cmp"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/certmagic"

	"weir/config"
	"weir/internal/acme"
)

// storageOpeners open the storages of certificates that are no folders.
func storageOpeners() map[string]acme.Opener {
	return map[string]acme.Opener{"redis": acme.OpenRedis, "rediss": acme.OpenRedis, "etcd": openEtcd}
}

// withoutEtcd stands for the storage in etcd in a program that is built without it.
func withoutEtcd(*url.URL) (certmagic.Storage, error) {
	return nil, errors.New(`this program was built without etcd: want one of "make build WITH=etcd"`)
}

// newIssuer returns what gets certificates by itself.
func newIssuer(log *slog.Logger) *acme.Manager {
	return acme.New(acme.Options{Log: log, Folder: certificatesFolder(os.Getenv), Openers: storageOpeners()})
}

// certificatesFolder is where certificates are kept if the configuration does not say where: in the state
// folder that systemd gives, else among the data of the user. Empty means that neither is known.
func certificatesFolder(getenv func(string) string) string {
	if state := filepath.SplitList(getenv("STATE_DIRECTORY")); len(state) > 0 {
		return filepath.Join(state[0], "certificates")
	}
	if data := getenv("XDG_DATA_HOME"); data != "" {
		return filepath.Join(data, "weir", "certificates")
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "weir", "certificates")
	}
	return ""
}

// checkCertificates reports what a start would refuse in what the configuration says of certificates
// that weir gets by itself. It asks no CA.
func checkCertificates(cfg *config.Config) config.Errors {
	folder := certificatesFolder(os.Getenv)
	needed, err := acme.Check(cfg, folder, storageOpeners())
	if err != nil {
		return cfg.Locate(config.Errors{{Key: config.Key("certificates"), Message: err.Error()}})
	}
	where := cmp.Or(cfg.Certificates.Storage, folder)
	if !needed || strings.Contains(where, "://") {
		return nil
	}
	if err := checkFolder(where); err != nil {
		return cfg.Locate(config.Errors{{Key: config.Key("certificates", "storage"), Message: err.Error()}})
	}
	return nil
}
