package secret

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// hidden is printed instead of a secret.
const hidden = "(hidden)"

// Text is the text of a setting that may contain a password. The zero value is an
// absent setting. It is printed as "(hidden)".
type Text string

// Reveal returns the text. Do not print it.
func (t Text) Reveal() string { return string(t) }

// String returns a fixed word.
func (t Text) String() string { return hidden }

// Format writes a fixed word, whatever the verb.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText returns a fixed word. encoding/json calls it too.
func (t Text) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// escape is the remedy for a URL that does not parse, or that parses wrongly.
const escape = `its text is not shown, because it may contain a password; percent-encode the characters : / ? # [ ] @ % and spaces in user name and password, such as %2F for /`

var errURL = errors.New("is not a URL: " + escape)

// URL parses the text as a URL of one of the schemes. Its host may be empty. It
// refuses a URL of which a part of the password may have become host, path, query
// or fragment. The error does not contain the text.
func (t Text) URL(schemes ...string) (*url.URL, error) {
	u, err := url.Parse(string(t))
	if err != nil || u.Opaque != "" {
		return nil, errURL
	}
	if !slices.Contains(schemes, u.Scheme) {
		return nil, fmt.Errorf("does not begin with %s:// (its text is not shown, because it may contain a password)", strings.Join(schemes, ":// or "))
	}
	if u.Fragment != "" {
		return nil, errURL
	}
	// The @ that ends user name and password is the last one of a well-formed URL.
	_, authority, _ := strings.Cut(string(t), "://")
	if end := strings.IndexAny(authority, "/?#"); end >= 0 && strings.Contains(authority[end:], "@") {
		return nil, errURL
	}
	if u.User != nil && strings.ContainsAny(u.User.Username(), ":/@") {
		return nil, errors.New("has a user name with one of : / @: " + escape)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("has a port that is not from 1 to 65535")
		}
	}
	return u, nil
}
