package mailauth

import (
	"net/netip"
	"strings"
)

// Mail is what is looked at. Nothing of it is changed.
type Mail struct {
	// ClientIP is where the mail came from.
	ClientIP netip.Addr
	// Helo is the name by which the client greeted.
	Helo string
	// From is the return path, "" for the null sender.
	From string
	// Header are the fields in order, [name, unfolded value].
	Header [][2]string
	// Authors are the addresses in the From fields.
	Authors []string
	// Raw is the whole mail.
	Raw []byte
}

// all gives the values of a field.
func (m *Mail) all(name string) []string {
	var out []string
	for _, f := range m.Header {
		if strings.EqualFold(f[0], name) {
			out = append(out, f[1])
		}
	}
	return out
}
