package domaincheck_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/domaincheck"
	"github.com/fanmail-dev/fanmail/test/dnstest"
)

// The address of the MX host. /etc/hosts, which the resolver reads too, has no name for it.
const address = "127.18.0.1"

const (
	addressCheck     = "address of mx.example.com"
	ptrCheck         = "PTR of 127.18.0.1"
	certificateCheck = "certificate of mx.example.com [127.18.0.1]"
	postmasterCheck  = "postmaster at mx.example.com [127.18.0.1]"
)

// well is the zone of a domain without a fault.
var well = dnstest.Zone{
	"example.com. MX":              {"10 mx.example.com."},
	"example.com. TXT":             {"v=spf1 mx -all", "something else"},
	"_dmarc.example.com. TXT":      {"v=DMARC1; p=reject"},
	"mx.example.com. A":            {address},
	"1.0.18.127.in-addr.arpa. PTR": {"mx.example.com."},
	"other.example.net. A":         {"192.0.2.7"},
	"alias.example.net. A":         {"CNAME mx.example.com.", address},
}

// with is the zone with other records.
func with(changes dnstest.Zone) dnstest.Zone {
	z := maps.Clone(well)
	for key, records := range changes {
		if records == nil {
			delete(z, key)
		} else {
			z[key] = records
		}
	}
	return z
}

// script is how a server of a test behaves.
type script struct {
	cert   *tls.Certificate // nil: no STARTTLS
	banner string
	rcpt   string // the answer to RCPT
	broken bool   // TLS fails
}

// serve runs a small SMTP server at the address until the test ends. It returns its port.
func serve(t *testing.T, s script) uint16 {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address+":0")
	require.NoError(t, err)
	var open sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { s.talk(conn) })
		}
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	n, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err)
	return uint16(n)
}

func (s script) talk(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	say := func(text string) { _, _ = fmt.Fprintf(conn, "%s\r\n", text) }
	if s.banner == "" {
		s.banner = "220 mx.example.com ESMTP"
	}
	say(s.banner)
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:4]); {
		case verb == "EHLO" && s.cert != nil:
			say("250-mx.example.com\r\n250 STARTTLS")
		case verb == "STAR":
			say("220 go on")
			if s.broken {
				say("this is no TLS")
				return
			}
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*s.cert}, MinVersion: tls.VersionTLS12})
			in = bufio.NewReader(conn)
			s.cert = nil
		case verb == "RCPT" && s.rcpt != "":
			say(s.rcpt)
		default:
			say("250 fine")
		}
	}
}

// authority signs the certificates of tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{cert, key}
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// sign returns a certificate for a name that is valid from and for that many days, counted from now.
func (a *authority) sign(t *testing.T, name string, from, until int) *tls.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().AddDate(0, 0, from), NotAfter: time.Now().AddDate(0, 0, until),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key.Public(), a.key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

// findings checks example.com and returns the findings by check. Those of one check stand together.
func findings(t *testing.T, z dnstest.Zone, c domaincheck.Config) map[string][]domaincheck.Finding {
	t.Helper()
	if c.DNSServer == "" {
		c.DNSServer, _ = dnstest.Serve(t, z)
	}
	by := map[string][]domaincheck.Finding{}
	for _, f := range domaincheck.Check(t.Context(), "example.com", c) {
		require.Equal(t, f.Status == domaincheck.OK, f.Fix == "", "a finding that is not ok has a fix: %+v", f)
		by[f.Check] = append(by[f.Check], f)
	}
	return by
}

// only asserts what a check found: its status, and texts of its detail and fix.
func only(t *testing.T, by map[string][]domaincheck.Finding, check, status string, texts ...string) {
	t.Helper()
	require.Len(t, by[check], 1, "%s in %+v", check, by)
	f := by[check][0]
	require.Equal(t, status, f.Status, "%+v", f)
	for _, text := range texts {
		require.Contains(t, f.Detail+"\n"+f.Fix, text, "%+v", f)
	}
}

func TestADomainWithoutAFaultIsFoundWell(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	port := serve(t, script{cert: a.sign(t, "mx.example.com", -1, 90)})
	var mu sync.Mutex
	var waits []string
	by := findings(t, well, domaincheck.Config{Port: port, Roots: a.roots(), Waiting: func(what string) {
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, what)
	}})
	only(t, by, "MX", domaincheck.OK, "mx.example.com")
	only(t, by, addressCheck, domaincheck.Warn, "127.18.0.1: not reachable from the internet")
	only(t, by, ptrCheck, domaincheck.OK, "mx.example.com, which has this address")
	only(t, by, portCheck(port), domaincheck.OK)
	only(t, by, certificateCheck, domaincheck.OK, "for mx.example.com, valid until")
	only(t, by, postmasterCheck, domaincheck.OK, "postmaster@example.com")
	only(t, by, "SPF", domaincheck.OK, "fail")
	only(t, by, "DMARC", domaincheck.OK, "policy reject")
	require.Len(t, by, 8)
	for _, what := range []string{"DNS: MX of example.com", "the TLS handshake", "the greeting", "RCPT TO:<postmaster@example.com>"} {
		require.Contains(t, strings.Join(waits, "\n"), what)
	}
}

func portCheck(port uint16) string {
	return fmt.Sprintf("port %d of mx.example.com [127.18.0.1]", port)
}

func TestEachFaultInDNSIsNamedWithItsFix(t *testing.T) {
	t.Parallel()
	port := serve(t, script{})
	for name, c := range map[string]struct {
		change        dnstest.Zone
		check, status string
		texts         []string
	}{
		"no MX":           {dnstest.Zone{"example.com. MX": nil}, "MX", domaincheck.Fail, []string{"no mail arrives", "example.com. MX 10 "}},
		"an address only": {dnstest.Zone{"example.com. MX": nil, "example.com. A": {address}}, "MX", domaincheck.Warn, []string{"address of example.com itself"}},
		"no domain":       {dnstest.Zone{"example.com. MX": nil, "example.com. TXT": nil}, "MX", domaincheck.Fail, []string{"there is none"}},
		"null MX":         {dnstest.Zone{"example.com. MX": {"0 ."}}, "MX", domaincheck.Fail, []string{"RFC 7505", "takes no mail"}},
		"null MX beside":  {dnstest.Zone{"example.com. MX": {"0 .", "10 mx.example.com."}}, "MX", domaincheck.Warn, []string{"beside other records"}},
		"MX an address":   {dnstest.Zone{"example.com. MX": {"10 127.18.0.1."}}, "MX", domaincheck.Fail, []string{"must name a host", "127.18.0.1"}},
		"MX a hostile name": {
			dnstest.Zone{"example.com. MX": {"10 m\x1b[31mx.example.com.", "20 mx.example.com."}}, "MX", domaincheck.Warn, []string{"does not name a host"},
		},
		"MX fails": {dnstest.Zone{"example.com. MX": {dnstest.ServFail}}, "MX", domaincheck.Fail, []string{"could not be looked up", "--dns-server"}},
		"MX an alias": {
			dnstest.Zone{"example.com. MX": {"10 alias.example.net."}}, "address of alias.example.net", domaincheck.Warn, []string{"CNAME", "mx.example.com"},
		},
		"no address":    {dnstest.Zone{"mx.example.com. A": nil}, addressCheck, domaincheck.Fail, []string{"no mail arrives there", "A record"}},
		"address fails": {dnstest.Zone{"mx.example.com. A": {dnstest.ServFail}}, addressCheck, domaincheck.Fail, []string{"could not be looked up"}},
		"no PTR":        {dnstest.Zone{"1.0.18.127.in-addr.arpa. PTR": nil}, ptrCheck, domaincheck.Warn, []string{"there is none", "mx.example.com"}},
		"another PTR": {
			dnstest.Zone{"1.0.18.127.in-addr.arpa. PTR": {"other.example.net."}}, ptrCheck, domaincheck.Warn, []string{"other.example.net, which does not have this address"},
		},
		"no SPF":             {dnstest.Zone{"example.com. TXT": {"hello"}}, "SPF", domaincheck.Warn, []string{"no record", "v=spf1 -all"}},
		"two SPF":            {dnstest.Zone{"example.com. TXT": {"v=spf1 -all", "v=spf1 mx -all"}}, "SPF", domaincheck.Warn, []string{"not valid"}},
		"malformed SPF":      {dnstest.Zone{"example.com. TXT": {"v=spf1 ipv4:1.2.3.4 -all"}}, "SPF", domaincheck.Warn, []string{"not valid"}},
		"SPF for all":        {dnstest.Zone{"example.com. TXT": {"v=spf1 +all"}}, "SPF", domaincheck.Warn, []string{"any server"}},
		"SPF without an end": {dnstest.Zone{"example.com. TXT": {"v=spf1 mx"}}, "SPF", domaincheck.Warn, []string{"says nothing"}},
		"SPF fails":          {dnstest.Zone{"example.com. TXT": {dnstest.ServFail}}, "SPF", domaincheck.Warn, []string{"could not be looked up"}},
		"no DMARC":           {dnstest.Zone{"_dmarc.example.com. TXT": nil}, "DMARC", domaincheck.Warn, []string{"no record", "_dmarc.example.com"}},
		"two DMARC": {
			dnstest.Zone{"_dmarc.example.com. TXT": {"v=DMARC1; p=none", "v=DMARC1; p=reject"}}, "DMARC", domaincheck.Warn, []string{"more than one record"},
		},
		"DMARC none":      {dnstest.Zone{"_dmarc.example.com. TXT": {"v=DMARC1; p=none"}}, "DMARC", domaincheck.Warn, []string{"policy is none", "p=reject"}},
		"DMARC in part":   {dnstest.Zone{"_dmarc.example.com. TXT": {"v=DMARC1; p=reject; pct=5"}}, "DMARC", domaincheck.Warn, []string{"5 %"}},
		"DMARC malformed": {dnstest.Zone{"_dmarc.example.com. TXT": {"v=DMARC1; p=\x1b[2Jnone"}}, "DMARC", domaincheck.Warn, []string{"not valid"}},
		"DMARC fails":     {dnstest.Zone{"_dmarc.example.com. TXT": {dnstest.Refused}}, "DMARC", domaincheck.Warn, []string{"could not be looked up"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			by := findings(t, with(c.change), domaincheck.Config{Port: port})
			found := by[c.check]
			require.NotEmpty(t, found, "%+v", by)
			by[c.check] = found[:1]
			only(t, by, c.check, c.status, c.texts...)
			harmless(t, by)
		})
	}
}

// harmless asserts that no text of a stranger could control a terminal.
func harmless(t *testing.T, by map[string][]domaincheck.Finding) {
	t.Helper()
	for _, list := range by {
		for _, f := range list {
			for _, r := range f.Check + f.Detail + f.Fix {
				require.True(t, strconv.IsPrint(r), "%q", f)
			}
		}
	}
}

func TestEachFaultOfAnSMTPServerIsNamedWithItsFix(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	good := a.sign(t, "mx.example.com", -1, 90)
	for name, c := range map[string]struct {
		script        script
		roots         *x509.CertPool
		check, status string // no check: the port's
		texts         []string
	}{
		"no STARTTLS": {script{}, a.roots(), certificateCheck, domaincheck.Warn, []string{"no STARTTLS", "--smtp-tls-cert"}},
		"expired":     {script{cert: a.sign(t, "mx.example.com", -30, -1)}, a.roots(), certificateCheck, domaincheck.Warn, []string{"it expired on"}},
		"expiring":    {script{cert: a.sign(t, "mx.example.com", -30, 3)}, a.roots(), certificateCheck, domaincheck.Warn, []string{"it expires on"}},
		"early":       {script{cert: a.sign(t, "mx.example.com", 3, 30)}, a.roots(), certificateCheck, domaincheck.Warn, []string{"not valid before"}},
		"another name": {
			script{cert: a.sign(t, "mail.example.org", -1, 90)}, a.roots(), certificateCheck, domaincheck.Warn, []string{"for mail.example.org, and not for mx.example.com"},
		},
		"hostile name": {script{cert: a.sign(t, "a\x1b[2Jb", -1, 90)}, a.roots(), certificateCheck, domaincheck.Warn, []string{"not for mx.example.com"}},
		"unknown":      {script{cert: good}, x509.NewCertPool(), certificateCheck, domaincheck.Warn, []string{"no authority that this machine trusts"}},
		"broken TLS":   {script{cert: good, broken: true}, a.roots(), certificateCheck, domaincheck.Fail, []string{"STARTTLS fails"}},
		"unwelcome":    {script{banner: "554 go away \x1b[2J"}, a.roots(), "", domaincheck.Fail, []string{"554 go away", `\x1b`}},
		"no SMTP":      {script{banner: "SSH-2.0-OpenSSH_9"}, a.roots(), "", domaincheck.Fail, []string{"SSH-2.0", "which program"}},
		"no postmaster": {
			script{rcpt: "550 5.1.1 no \u202esuch agent"}, a.roots(), postmasterCheck, domaincheck.Fail, []string{"550 5.1.1", "fanmail agents create '*@example.com'"},
		},
		"later": {script{rcpt: "451 4.3.0 try again"}, a.roots(), postmasterCheck, domaincheck.Warn, []string{"451 4.3.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := serve(t, c.script)
			if c.check == "" {
				c.check = portCheck(port)
			}
			by := findings(t, well, domaincheck.Config{Port: port, Roots: c.roots})
			only(t, by, c.check, c.status, c.texts...)
			harmless(t, by)
		})
	}
}

func TestAClosedPortIsNamedWithItsFix(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address+":0")
	require.NoError(t, err)
	_, text, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	n, err := strconv.ParseUint(text, 10, 16)
	require.NoError(t, err)
	by := findings(t, well, domaincheck.Config{Port: uint16(n)})
	only(t, by, portCheck(uint16(n)), domaincheck.Fail, "accepts no connection", "firewall", "run the doctor elsewhere")
}

func TestADNSServerThatDoesNotAnswerEndsTheChecks(t *testing.T) {
	t.Parallel()
	silent, _ := dnstest.ServeFunc(t, func(string, string) ([]string, bool) { return []string{dnstest.Silence}, true })
	by := findings(t, nil, domaincheck.Config{DNSServer: silent})
	only(t, by, "MX", domaincheck.Fail, "no answer within")
	only(t, by, "SPF", domaincheck.Warn)
	only(t, by, "DMARC", domaincheck.Warn)
}

func TestOfManyHostsOnlySomeAreChecked(t *testing.T) {
	t.Parallel()
	z := with(nil)
	var records []string
	for n := range 15 {
		records = append(records, fmt.Sprintf("%d mx%02d.example.org.", n, n))
	}
	z["example.com. MX"] = records
	by := findings(t, z, domaincheck.Config{})
	require.Len(t, by["MX"], 2)
	require.Contains(t, by["MX"][1].Detail, "15 hosts")
	require.Contains(t, by, "address of mx09.example.org")
	require.NotContains(t, by, "address of mx10.example.org")
}
