package milter

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/d--j/go-milter"
)

// Options are the choices for a [Chain]. Zero values take the defaults.
type Options struct {
	// Host is the name of this server, such as mx.example.com.
	Host string
	// CommandTimeout bounds how long a milter may take for what follows one SMTP command. Defaults to 30 seconds.
	CommandTimeout time.Duration
	// ContentTimeout bounds how long all milters together may take for the content of a mail. Defaults to 4 minutes:
	// clients wait 10 for the reply (RFC 5321, 4.5.3.2.6), and many give up earlier.
	ContentTimeout time.Duration
	// Report is called with the outcome of each try to ask a milter; nil: it answered. It may be nil.
	Report func(a Address, err error)
	// Failed is called if a milter could not be asked about a mail. It may be nil.
	Failed func(*Failure)
	// Observe is called for each milter that decided, with how long it took for all of the mail. It may be nil.
	Observe func(name string, d Decision, took time.Duration)
}

// report calls Report. A nil *Failure is no error.
func (o *Options) report(a Address, f *Failure) {
	if f == nil {
		o.Report(a, nil)
		return
	}
	o.Report(a, f)
}

// Decision is what a milter decided, for metrics.
type Decision string

// The values of [Decision].
const (
	Accepted    Decision = "accept"
	Quarantined Decision = "quarantine"
	Discarded   Decision = "discard"
	Rejected    Decision = "reject"
	Deferred    Decision = "tempfail"
	Failed      Decision = "failed"
)

// Decisions are all values of [Decision].
func Decisions() []Decision {
	return []Decision{Accepted, Quarantined, Discarded, Rejected, Deferred, Failed}
}

// Chain asks milters in their order. It is safe for concurrent use. Create one with [New].
type Chain struct {
	list []Address
	o    Options
}

var quiet sync.Once

// New creates a chain. It connects to nothing yet.
func New(list []Address, o Options) *Chain {
	if o.CommandTimeout == 0 {
		o.CommandTimeout = 30 * time.Second
	}
	if o.ContentTimeout == 0 {
		o.ContentTimeout = 4 * time.Minute
	}
	if o.Report == nil {
		o.Report = func(Address, error) {}
	}
	if o.Failed == nil {
		o.Failed = func(*Failure) {}
	}
	if o.Observe == nil {
		o.Observe = func(string, Decision, time.Duration) {}
	}
	// The library would write what milters send to the standard logger.
	quiet.Do(func() { milter.LogWarning = func(string, ...any) {} })
	return &Chain{list: list, o: o}
}

// Check connects to each milter and agrees on the options, and reports the outcome to Options.Report. It returns false
// if one did not answer.
func (c *Chain) Check(ctx context.Context) bool {
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, l := range c.list {
		all.Go(func() {
			s, err := c.open(ctx, l, milter.NewMacroBag(), time.Now().Add(c.o.CommandTimeout))
			if err == nil {
				s.close(ctx)
			}
			failed.CompareAndSwap(false, err != nil)
			if ctx.Err() == nil {
				c.o.report(l, failure(l, c.o.CommandTimeout, err))
			}
		})
	}
	all.Wait()
	return !failed.Load()
}

// session is an open connection to a milter.
type session struct {
	*milter.ClientSession

	conn    *connection
	content bool // it was sent some of the content
}

// open connects to a milter and agrees on the options with it.
func (c *Chain) open(ctx context.Context, at Address, macros milter.Macros, end time.Time) (*session, error) {
	dialing, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(dialing, at.Network, at.Host)
	if err != nil {
		return nil, err
	}
	conn := newConnection(nc)
	defer conn.limit(ctx, end)()
	s, err := milter.NewClient(at.Network, at.Host, options(conn)...).Session(macros)
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	return &session{ClientSession: s, conn: conn}, nil
}

// dialed is the library's dialer for a connection that is open already: its own takes no context.
type dialed struct{ net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

// options of the library's client. The names of the macros are those that Postfix sends.
func options(c *connection) []milter.Option {
	return []milter.Option{
		milter.WithDialer(dialed{c}),
		milter.WithoutAction(milter.AllClientSupportedActionMasks &^ obeyed),
		milter.WithMacroRequest(milter.StageConnect, []string{
			milter.MacroMTAFQDN, milter.MacroDaemonName, milter.MacroMTAVersion, milter.MacroClientAddr, milter.MacroClientPort, milter.MacroClientName,
		}),
		milter.WithMacroRequest(milter.StageHelo, []string{milter.MacroTlsVersion, milter.MacroCipher}),
		milter.WithMacroRequest(milter.StageMail, []string{milter.MacroQueueId, milter.MacroMailAddr}),
		milter.WithMacroRequest(milter.StageRcpt, []string{milter.MacroQueueId, milter.MacroRcptAddr}),
		milter.WithMacroRequest(milter.StageData, []string{milter.MacroQueueId}),
		milter.WithMacroRequest(milter.StageEOH, []string{milter.MacroQueueId}),
		milter.WithMacroRequest(milter.StageEOM, []string{milter.MacroQueueId}),
	}
}

// close says goodbye, for a second at most, and closes the connection.
func (s *session) close(ctx context.Context) {
	defer s.conn.limit(ctx, time.Now().Add(time.Second))()
	_ = s.ClientSession.Close() // the connection is of no further use
	_ = s.conn.Close()
}

// Client is who sends the mail.
type Client struct {
	Addr netip.AddrPort // the zero value: not known
	Helo string
	From string // the reverse path without brackets
	// TLS and Cipher are the names of the version and the cipher; "" without TLS.
	TLS, Cipher string
}

// macros are what milters may ask for besides the commands. id names the mail in the logs of milters.
func (c *Chain) macros(by Client) *milter.MacroBag {
	bag := milter.NewMacroBag()
	set := func(name, value string) { bag.Set(name, text(value)) }
	set(milter.MacroMTAFQDN, c.o.Host)
	set(milter.MacroDaemonName, "fanmail")
	set(milter.MacroMTAVersion, "Fanmail")
	set(milter.MacroQueueId, rand.Text()[:12])
	if by.Addr.IsValid() {
		addr := by.Addr.Addr().Unmap()
		set(milter.MacroClientAddr, addr.String())
		set(milter.MacroClientName, "["+addr.String()+"]")
	}
	if by.TLS != "" {
		set(milter.MacroTlsVersion, by.TLS)
		set(milter.MacroCipher, by.Cipher)
	}
	set(milter.MacroMailAddr, by.From)
	return bag
}

// text makes a value fit for the protocol, where NUL ends a value.
func text(s string) string { return strings.ReplaceAll(s, "\x00", " ") }
