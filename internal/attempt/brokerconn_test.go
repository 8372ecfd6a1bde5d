package attempt

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inParts passes a text to the check of what a broker sends, in two parts.
func inParts(text string, at int) error {
	var c brokerConn
	if err := c.check([]byte(text[:at])); err != nil {
		return err
	}
	return c.check([]byte(text[at:]))
}

// huge is a message that the client would take memory for, and fail.
const huge = "MSG x 1 9000000000000000000\r\nabc"

// escapes hide a message from a check that reads the protocol otherwise than the client does.
var escapes = map[string]string{
	"announced as it is":         huge,
	"after a wrong end":          "MSG x 1 0\r\n\rZMSG x 1 60000\r\n" + huge,
	"after a short end":          "MSG x 1 0\r\n\n" + huge,
	"over the end of a line":     "MSG \nx 1 9000000000000000000\r\nabc",
	"by a tab":                   "MSG\tx\t1\t9000000000000000000\r\nabc",
	"in small letters":           "msg x 1 9000000000000000000\r\nabc",
	"with a header":              "HMSG x 1 12 9000000000000000000\r\nabc",
	"with a \\r in the size":     "MSG x 1 60000\r0000000000\r\nabc",
	"with a form feed":           "MSG x 1 1\f9000000000000000000\r\nabc",
	"without \\r":                "MSG x 1 9000000000000000000\nabc",
	"behind a line of its own":   "PINGMSG x 1 5\n" + huge,
	"behind an error":            "-ERR \nMSG x 1 9000000000000000000\r\nabc",
	"behind what is no line":     "\r\n" + huge,
	"a size of too many numbers": "MSG x 1 18446744073709551617\r\nabc",
	"over the bound":             "MSG x 1 65537\r\nabc",
}

// written is what a server writes.
const written = "INFO {\"server_id\":\"x\",\"connect_urls\":[\"10.0.0.1:4222\"]} \r\nPING\r\nPONG\r\n+OK\r\n-ERR 'Permissions Violation for Publish to \"x\"'\r\n" +
	"MSG _INBOX.a.b 1 0\r\n\r\nMSG _INBOX.ä 1 reply.to 5\r\na\r\nbc\r\nHMSG _INBOX.x 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\nHMSG x 2 r 16 18\r\nNATS/1.0 503\r\n\r\n{}\r\nPING\r\n"

func TestOnlyWhatAServerWritesPasses(t *testing.T) {
	t.Parallel()
	for at := range written {
		require.NoError(t, inParts(written, at), "%q", written[:at])
	}
	for name, text := range escapes {
		for at := range text {
			require.ErrorIs(t, inParts("PING\r\n"+text, len("PING\r\n")+at), errBroker, "%s, in parts of %d bytes", name, at)
		}
	}
	require.ErrorIs(t, inParts("INFO {"+strings.Repeat("a", brokerLine), 100), errBroker)
}

// TestABrokerDoesNotEndTheProcess sends a client what would end the process if it came to be read.
func TestABrokerDoesNotEndTheProcess(t *testing.T) {
	t.Parallel()
	for name, text := range escapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := local()
			config.Timeout = 20 * time.Second
			p := NewPoster(config)
			t.Cleanup(p.Close)
			talk := func(conn net.Conn, in *bufio.Reader) {
				accept(conn, in)
				_, _ = conn.Write([]byte(text))
				_, _ = in.ReadString(0)
			}
			r := p.Post(t.Context(), message(t, "nats://"+rogue(t, talk), brokerEndpoint(t, 1, nil), "evt_1", "{}"))
			require.False(t, r.Delivered)
			require.Equal(t, ReasonConnection, r.Reason, "%+v", r)
			require.Contains(t, r.Error, textBroker)
		})
	}
}
