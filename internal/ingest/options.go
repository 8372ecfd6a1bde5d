package ingest

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
)

// Options are the operator's choices for the SMTP server. A zero field takes
// its default.
type Options struct {
	// Addr is the host and port to listen on, such as "127.0.0.1:2525".
	// Port 0 picks a free one. Required.
	Addr string
	// Domain is the name in the greeting. Defaults to "localhost".
	Domain string
	// Postmaster is the agent that takes mail to postmaster and abuse where no agent of the domain does. Where it is
	// empty such mail is refused like that to other unknown addresses.
	Postmaster string
	// TLS offers STARTTLS where it is not nil.
	TLS *tls.Config
	// MaxMessageBytes is announced as SIZE: the largest mail. Defaults to 35 MiB,
	// which takes 25 MB of attachments in base64.
	MaxMessageBytes int64
	// MaxRecipients of one mail, 1 to 1000. Defaults to 100.
	MaxRecipients int
	// MaxConnections at once. Over it the answer is 421, unless a connection is
	// idle or slow: that is closed instead. One client, which is an IPv4 address
	// or an IPv6 /64, may have half of them. Defaults to 500.
	MaxConnections int
	// MaxBufferedBytes bounds the mails over 64 KiB that are in temporary files
	// at once. Over it the answer is 452, unless a transfer is slow: that is cut
	// off instead. One client may have half, or one mail. Defaults to 1 GiB, at
	// least MaxMessageBytes.
	MaxBufferedBytes int64
	// SpoolDir is the folder of the temporary files. "" is the system's.
	SpoolDir string
	// EvictAfter is how long a connection may be idle, or its mail slow, before
	// another may take its place. Defaults to a second.
	EvictAfter time.Duration
	// Tarpit is the delay of a reply to a client that makes too many errors or
	// commands. Defaults to a second.
	Tarpit time.Duration
	// ReadTimeout is how long a client may take for a command, or for the next
	// bytes of a mail. A mail also has a minimum rate. Defaults to 5 minutes, which RFC 5321 asks for.
	ReadTimeout time.Duration
	// WriteTimeout is how long an answer may take. Defaults to a minute.
	WriteTimeout time.Duration
	// DataTimeout is how long a mail may take as a whole. Defaults to 15 minutes.
	DataTimeout time.Duration
	// Milters are asked about each mail, in order.
	Milters []milter.Address
	// MilterTimeout is how long a milter may take for one SMTP command. Defaults to 30 seconds.
	MilterTimeout time.Duration
	// ReportMilter is called with the outcome of each try to ask a milter; nil: it answered. It may be nil.
	ReportMilter func(milter.Address, error)
	// PublicURL is the API's base URL, for links to raw mails. Where it is
	// empty the links are paths.
	PublicURL string
	// Blobs takes the raw mails that are larger than mailbox.BlobOver; nil: the database
	// takes all.
	Blobs blobs.Store
	// Authenticate checks SPF, DKIM and DMARC of each mail. Where it is false
	// the events say that nothing was checked.
	Authenticate bool
	// DNSServer is asked for that, "host:port". Where it is empty the system's
	// servers are.
	DNSServer string
	// AuthTimeout is how long the checks of one mail may take: what is not
	// known by then is "temperror". Defaults to 5 seconds.
	AuthTimeout time.Duration
	// Drain is how long open transactions may take to end after Run's context
	// has. Defaults to 10 seconds.
	Drain time.Duration
	// Usage holds tenants to their quotas of the day. nil: a counter of the server's own.
	Usage *usage.Counter
	// Log may be nil: silent.
	Log *zap.Logger
	// Registerer receives the metrics; nil: none.
	Registerer prometheus.Registerer
	// Tracer makes a span for each mail; nil: no spans.
	Tracer trace.Tracer
}

// OptionError names a setting that cannot be used.
type OptionError struct{ Setting, Reason string }

// Error is "ingest setting: reason".
func (e *OptionError) Error() string { return "ingest " + e.Setting + ": " + e.Reason }

// withDefaults fills in the defaults and checks the rest.
func (o Options) withDefaults() (Options, error) {
	if _, _, err := net.SplitHostPort(o.Addr); err != nil {
		return o, &OptionError{"Addr", fmt.Sprintf("%q is not host:port", o.Addr)}
	}
	if o.Domain == "" {
		o.Domain = "localhost"
	}
	if strings.ContainsAny(o.Domain, " \t\r\n") {
		return o, &OptionError{"Domain", fmt.Sprintf("%q is not a host name", o.Domain)}
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"ReadTimeout", &o.ReadTimeout, 5 * time.Minute},
		{"WriteTimeout", &o.WriteTimeout, time.Minute},
		{"DataTimeout", &o.DataTimeout, 15 * time.Minute},
		{"AuthTimeout", &o.AuthTimeout, 5 * time.Second},
		{"Drain", &o.Drain, 10 * time.Second},
		{"EvictAfter", &o.EvictAfter, time.Second},
		{"Tarpit", &o.Tarpit, time.Second},
	} {
		if *d.value < 0 {
			return o, &OptionError{d.name, "must not be negative"}
		}
		if *d.value == 0 {
			*d.value = d.or
		}
	}
	if err := o.limits(); err != nil {
		return o, err
	}
	if o.DNSServer != "" {
		if _, _, err := net.SplitHostPort(o.DNSServer); err != nil {
			return o, &OptionError{"DNSServer", fmt.Sprintf("%q is not host:port", o.DNSServer)}
		}
	}
	if o.PublicURL != "" {
		u, err := url.Parse(o.PublicURL)
		if err != nil || u.Scheme == "" || u.Host == "" || len(o.PublicURL) > 2048 {
			return o, &OptionError{"PublicURL", fmt.Sprintf("%.64q is not a URL such as https://mail.example.com", o.PublicURL)}
		}
		o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o, nil
}

// limits fills in the limits that are zero, and checks them.
func (o *Options) limits() error {
	if o.MaxMessageBytes == 0 {
		o.MaxMessageBytes = 35 << 20
	}
	if o.MaxMessageBytes < 1024 || o.MaxMessageBytes > 512<<20 {
		return &OptionError{"MaxMessageBytes", "must be between 1024 and 536870912"}
	}
	if o.MaxRecipients == 0 {
		o.MaxRecipients = 100
	}
	if o.MaxRecipients < 1 || o.MaxRecipients > outbox.MaxInsert {
		return &OptionError{"MaxRecipients", fmt.Sprintf("must be between 1 and %d", outbox.MaxInsert)}
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = 500
	}
	if o.MaxConnections < 1 {
		return &OptionError{"MaxConnections", "must be at least 1"}
	}
	if o.MaxBufferedBytes == 0 {
		o.MaxBufferedBytes = max(1<<30, o.MaxMessageBytes)
	}
	if o.MaxBufferedBytes < o.MaxMessageBytes {
		return &OptionError{"MaxBufferedBytes", "must be at least MaxMessageBytes"}
	}
	return nil
}
