package milter

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const (
	// MaxMilters is the most milters of a chain.
	MaxMilters = 8
	// maxName is the most characters of a milter's name.
	maxName = 63
)

// Address is where a milter listens, and what happens if it fails.
type Address struct {
	// Name stands for the milter in events, logs and metrics.
	Name string
	// Network is "tcp" or "unix".
	Network string
	// Host is "host:port", or the path of a socket.
	Host string
	// AcceptOnFailure lets mail pass that the milter could not be asked about. Otherwise the client is told to try again.
	AcceptOnFailure bool
}

// String is the address as Postfix writes it.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Host
	}
	return "inet:" + a.Host
}

// Parse reads a list of addresses, each "inet:HOST:PORT" or "unix:/PATH". "?name=NAME" gives it a name, otherwise it is
// milter1, milter2 and so on. "?on_failure=accept" sets AcceptOnFailure. Both are joined by "&".
func Parse(list []string) ([]Address, error) {
	if len(list) > MaxMilters {
		return nil, fmt.Errorf("names %d milters; the limit is %d", len(list), MaxMilters)
	}
	var out []Address
	names := make(map[string]bool)
	for i, s := range list {
		a, err := parse(strings.TrimSpace(s))
		if err != nil {
			return nil, fmt.Errorf("milter %d: %w", i+1, err)
		}
		if a.Name == "" {
			a.Name = "milter" + strconv.Itoa(i+1)
		}
		if names[a.Name] {
			return nil, fmt.Errorf("milter %d: another milter has the name %q", i+1, a.Name)
		}
		names[a.Name] = true
		out = append(out, a)
	}
	return out, nil
}

// shown returns an address for an error. A milter has no password, but an operator may give it one.
func shown(where string) string {
	if strings.Contains(where, "@") {
		return "an address with an @, whose text is not shown because it may contain a password,"
	}
	return fmt.Sprintf("%.100q", where)
}

func parse(s string) (a Address, err error) {
	where, options, _ := strings.Cut(s, "?")
	kind, host, _ := strings.Cut(where, ":")
	switch kind {
	case "inet":
		name, port, err := net.SplitHostPort(host)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || name == "" || bad != nil || n == 0 {
			return a, fmt.Errorf("%s is not inet:HOST:PORT, such as inet:127.0.0.1:11332", shown(where))
		}
		a.Network = "tcp"
	case "unix":
		if !strings.HasPrefix(host, "/") {
			return a, fmt.Errorf("%s is not unix:/PATH, such as unix:/run/clamav/clamav-milter.ctl", shown(where))
		}
		a.Network = "unix"
	default:
		return a, fmt.Errorf("%s is neither inet:HOST:PORT nor unix:/PATH", shown(where))
	}
	a.Host = host
	values, err := url.ParseQuery(options)
	if err != nil {
		return a, fmt.Errorf("the options %.100q: %w", options, err)
	}
	for key, list := range values {
		if len(list) > 1 {
			return a, fmt.Errorf("the option %s is set twice", key)
		}
		if err := a.set(key, list[0]); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *Address) set(key, value string) error {
	switch key {
	case "name":
		if !validName(value) {
			return fmt.Errorf("the name %.100q must have 1 to %d letters, digits, - and _", value, maxName)
		}
		a.Name = value
		return nil
	case "on_failure":
		if value != "accept" && value != "tempfail" {
			return errors.New("on_failure must be accept or tempfail")
		}
		a.AcceptOnFailure = value == "accept"
		return nil
	}
	return fmt.Errorf("the option %.100q is unknown: there are name and on_failure", key)
}

func validName(s string) bool {
	return s != "" && len(s) <= maxName &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
