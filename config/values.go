package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/internal/field"
)

// Duration is a time span written as in Go: "250ms", "5s", "1h30m". It is
// never negative. Each key says what 0 means.
type Duration time.Duration

// D returns d for the time package.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String returns d without the zero units of time.Duration: "1h", not "1h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText accepts what time.ParseDuration accepts, except negative spans.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return errors.New(wantDuration)
	}
	*d = Duration(v)
	return nil
}

// check reports a span that UnmarshalText would refuse.
func (d Duration) check() error {
	if d < 0 {
		return errors.New(wantDuration)
	}
	return nil
}

// Size is a number of bytes written as "0", "512", "64KiB", "1MiB" or "10MB".
// It is never negative. Each key says what 0 means.
type Size int64

// The units of Size. UnmarshalText needs a suffix such as "MB" before "B", and
// String needs large units before small ones to find the shortest text.
var sizeUnits = [...]struct {
	suffix string
	bytes  int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// String returns s in the largest unit that needs no fraction.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if u.bytes > 1 && s > 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts a whole number with an optional unit: B, KB, MB, GB and
// TB count in thousands, KiB, MiB, GiB and TiB in 1024s.
func (s *Size) UnmarshalText(text []byte) error {
	digits, factor := string(text), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, factor = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/factor {
		return errors.New(wantSize)
	}
	*s = Size(int64(n) * factor)
	return nil
}

// check reports a size that UnmarshalText would refuse.
func (s Size) check() error {
	if s < 0 {
		return errors.New(wantSize)
	}
	return nil
}

// Address is where a listener listens: "host:port", ":port", "unix:/path" or
// "systemd:NAME". The empty Address means no address.
type Address string

// String returns a as it was written.
func (a Address) String() string { return string(a) }

// Split returns the network and the address within it: "tcp" with "host:port",
// "unix" with a path, "systemd" with the socket's name, or "" twice for the empty
// Address.
func (a Address) Split() (network, address string) {
	switch {
	case a == "":
		return "", ""
	case strings.HasPrefix(string(a), "unix:"):
		return "unix", string(a[len("unix:"):])
	case strings.HasPrefix(string(a), "systemd:"):
		return "systemd", string(a[len("systemd:"):])
	}
	return "tcp", string(a)
}

// UnmarshalText accepts the forms named at Address, and the empty text.
func (a *Address) UnmarshalText(text []byte) error {
	v := Address(text)
	if err := v.check(); err != nil {
		return err
	}
	*a = v
	return nil
}

// check reports an address that no listener could use.
func (a Address) check() error {
	switch network, address := a.Split(); network {
	case "unix":
		// The kernel's sun_path holds 108 bytes with its final NUL.
		if !strings.HasPrefix(address, "/") || len(address) > 107 || strings.IndexByte(address, 0) >= 0 {
			return errors.New(`"unix:" and an absolute path of at most 107 bytes`)
		}
	case "systemd":
		if address == "" || strings.ContainsAny(address, ": \t\r\n\x00") {
			return errors.New(`"systemd:" and the name of a socket (FileDescriptorName=)`)
		}
	case "tcp":
		host, port, err := net.SplitHostPort(address)
		if err != nil || !validListenHost(host) {
			return errors.New(wantAddress)
		}
		if !validPort(port) {
			return errors.New("a port of 0 to 65535")
		}
	}
	return nil
}

// validPort says whether s is a decimal port number; 0 asks the kernel for one.
func validPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// validListenHost says whether s is empty, an IP address or a host name.
func validListenHost(s string) bool {
	if s == "" {
		return true
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return IsHostName(s) && !isNumeric(s)
}

// isNumeric says whether a host has digits and dots alone, as addresses of IPv4 have and names never (RFC 3696 section 2).
func isNumeric(host string) bool { return strings.Trim(host, "0123456789.") == "" }

// Prefix is a range of addresses: "10.0.0.0/8", "fd00::/8", or one address.
// The zero Prefix contains nothing.
type Prefix struct{ netip.Prefix }

// ParsePrefix reads a range; a bare address is a range of one. Bits set after the
// range's length are an error, because they show that something else was meant.
func ParsePrefix(s string) (Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return Prefix{}, errors.New(wantPrefix)
	}
	if p.Masked() != p {
		return Prefix{}, fmt.Errorf("%s, or %s", p.Masked(), p.Addr())
	}
	return Prefix{p}, nil
}

// UnmarshalText is ParsePrefix.
func (p *Prefix) UnmarshalText(text []byte) error {
	v, err := ParsePrefix(string(text))
	if err != nil {
		return err
	}
	*p = v
	return nil
}

// check reports a prefix that was not made by ParsePrefix.
func (p Prefix) check() error {
	if !p.IsValid() {
		return errors.New(wantPrefix)
	}
	return nil
}

// Strings is one string or a list of strings. nil is the empty list.
type Strings []string

// Template is a text with variables: "/v2/{service}". "{{" and "}}" are literal
// braces. The zero Template is the empty text. A Template is never changed, so
// several goroutines may use copies.
type Template struct {
	text  string
	parts []part
}

// part is a literal, or the name of a variable if name is set.
type part struct {
	literal []byte
	name    string
}

// ParseTemplate compiles s. The caller checks whether the variables exist: see
// Names.
func ParseTemplate(s string) (Template, error) {
	t := Template{text: s}
	var literal []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c != '{' && c != '}':
			literal = append(literal, c)
		case i+1 < len(s) && s[i+1] == c:
			literal = append(literal, c)
			i++
		case c == '}':
			return Template{}, errors.New(`"}}" for a literal "}"`)
		default:
			end := strings.IndexByte(s[i:], '}')
			if end < 0 || !validVariable(s[i+1:i+end]) {
				return Template{}, errors.New(wantTemplate)
			}
			if len(literal) > 0 {
				t.parts = append(t.parts, part{literal: literal})
				literal = nil
			}
			t.parts = append(t.parts, part{name: s[i+1 : i+end]})
			i += end
		}
	}
	if len(literal) > 0 {
		t.parts = append(t.parts, part{literal: literal})
	}
	return t, nil
}

// MustTemplate is ParseTemplate for texts that are part of a program. It panics on
// a text that is not a template.
func MustTemplate(s string) Template {
	t, err := ParseTemplate(s)
	if err != nil {
		panic(fmt.Sprintf("BUG: template %q: want %s", s, err))
	}
	return t
}

// validVariable says whether s may be between braces. The names of captures and
// of internal/forward's variables may.
func validVariable(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !field.Alphanumeric(c) && c != '_' && c != '-' && c != '.' && c != ':' {
			return false
		}
	}
	return s != ""
}

// Append appends the text to dst, each variable replaced by what lookup returns
// for its name, and returns the longer slice. It allocates only if dst is too
// short. lookup's bytes are copied before the next call.
func (t Template) Append(dst []byte, lookup func(name string) []byte) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		if p.name == "" {
			dst = append(dst, p.literal...)
			continue
		}
		dst = append(dst, lookup(p.name)...)
	}
	return dst
}

// Names returns the names of the variables in their order, repeated ones too;
// nil for a text without variables.
func (t Template) Names() []string {
	var names []string
	for _, p := range t.parts {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// Literal returns the text of a template without variables, doubled braces as single ones.
func (t Template) Literal() string { return string(t.Append(nil, nil)) }

// IsZero says whether the text is empty.
func (t Template) IsZero() bool { return t.text == "" }

// String returns the text as it was written, braces and all.
func (t Template) String() string { return t.text }

// MarshalText returns String.
func (t Template) MarshalText() ([]byte, error) { return []byte(t.text), nil }

// UnmarshalText is ParseTemplate.
func (t *Template) UnmarshalText(text []byte) error {
	v, err := ParseTemplate(string(text))
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// What the text types accept, as error texts: they follow "want ".
const (
	wantDuration = `a time span such as "250ms", "5s" or "1h30m"`
	wantSize     = `a size such as "512", "64KiB" or "10MB"`
	wantAddress  = `"host:port", ":port", "unix:/path" or "systemd:NAME"`
	wantPrefix   = `an address range such as "10.0.0.0/8", "fd00::/8" or "192.0.2.7"`
	wantTemplate = `a variable such as "{service}", or "{{" for a literal "{"`
)

// IsDNSName says whether s is a host name and no address.
func IsDNSName(s string) bool {
	_, err := netip.ParseAddr(s)
	return err != nil && IsHostName(s)
}

// IsHostName says whether s is a host name of letters, digits and hyphens in
// labels of at most 63 bytes. Underscores are allowed too, because they are
// common in the names of containers.
func IsHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; !field.Alphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
