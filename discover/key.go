package discover

import (
	"fmt"
	"net/url"
	"strings"
)

// noVersion stands for an empty version in a key.
const noVersion = "-"

// FormatKey returns the key of an entry in a registry that has keys, below the registry's own prefix:
// "NAME/VERSION/ID". ID is the endpoint's URL without slashes.
func FormatKey(e Entry) string {
	version := e.Version
	if version == "" {
		version = noVersion
	}
	return e.Name + "/" + version + "/" + url.PathEscape(e.URL)
}

// ParseKey returns the name and version in a key. Whatever the ID is, the endpoint is in the value.
func ParseKey(key string) (name, version string, err error) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || parts[2] == "" {
		return "", "", fmt.Errorf(`found the key %q: want "NAME/VERSION/ID" below the prefix`, key)
	}
	name, version = parts[0], parts[1]
	if version == noVersion {
		version = ""
	}
	return name, version, CheckService(name, version)
}

// ParseEntry reads an entry of a registry that has keys. The error is about the key; what is wrong with the value is in
// the entry.
func ParseEntry(key string, value []byte) (Entry, error) {
	name, version, err := ParseKey(key)
	if err != nil {
		return Entry{}, err
	}
	e, err := ParseEndpoint(value)
	if err != nil {
		err = fmt.Errorf("key %q: %w", key, err)
	}
	return Entry{Name: name, Version: version, Endpoint: e, Wrong: err}, nil
}
