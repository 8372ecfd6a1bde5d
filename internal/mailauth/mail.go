package mailauth

import (
	"net/netip"
	"strings"
)

// Mail is the input of a check, which does not change it.
type Mail struct {
	// ClientIP is the address of the SMTP client.
	ClientIP netip.Addr
	// Helo is the name in the client's HELO or EHLO.
	Helo string
	// From is the return path; empty for the null sender.
	From string
	// Header has the fields in order, each [name, unfolded value].
	Header [][2]string
	// Authors are the addresses in the From fields.
	Authors []string
	// Raw is the whole mail.
	Raw []byte
}

// all returns the values of all fields with the name.
func (m *Mail) all(name string) []string {
	var out []string
	for _, f := range m.Header {
		if strings.EqualFold(f[0], name) {
			out = append(out, f[1])
		}
	}
	return out
}
