package mailauth_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailauth"
	"github.com/fanmail-dev/fanmail/test/dnstest"
)

// longTimeout is a timeout that a check does not reach.
const longTimeout = time.Minute

var (
	edPublic, edKey, _ = ed25519.GenerateKey(rand.Reader)
	edRecord           = "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edPublic)
)

const mail = "From: Ann <ann@news.example.com>\r\nTo: a@agents.example\r\nSubject: hi\r\nDate: Mon, 2 Jan 2026 15:04:05 +0100\r\n\r\nHello\r\n"

// signed returns the mail with a signature on top.
func signed(t *testing.T, raw, domain string, change func(*dkim.SignOptions)) string {
	t.Helper()
	o := &dkim.SignOptions{Domain: domain, Selector: "s1", Signer: edKey, HeaderKeys: []string{"From", "Subject", "To"}}
	if change != nil {
		change(o)
	}
	var b bytes.Buffer
	require.NoError(t, dkim.Sign(&b, strings.NewReader(raw), o))
	return b.String()
}

// mailOf parses a raw mail as far as the tests need it.
func mailOf(raw string) mailauth.Mail {
	m := mailauth.Mail{ClientIP: netip.MustParseAddr("192.0.2.1"), Helo: "mx.example.com", From: "ann@news.example.com", Raw: []byte(raw)}
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	head = strings.ReplaceAll(strings.ReplaceAll(head, "\r\n ", " "), "\r\n\t", " ")
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		m.Header = append(m.Header, [2]string{name, strings.TrimSpace(value)})
		if strings.EqualFold(name, "From") {
			for a := range strings.SplitSeq(value, ",") {
				a = a[strings.IndexByte(a, '<')+1:]
				m.Authors = append(m.Authors, strings.Trim(a, " <>"))
			}
		}
	}
	return m
}

func check(t *testing.T, z dnstest.Zone, m mailauth.Mail) email.Authentication {
	t.Helper()
	addr, _ := dnstest.Serve(t, z)
	a, more := mailauth.New("mx.agents.example", addr, longTimeout).Check(context.Background(), m)
	require.False(t, more)
	require.True(t, a.Checked)
	// Another parser reads the same results from the field.
	identity, read, err := authres.Parse(a.Results)
	require.NoError(t, err, a.Results)
	require.Equal(t, "mx.agents.example", identity)
	require.Len(t, read, 2+max(1, len(a.DKIM)))
	spf, ok := read[0].(*authres.SPFResult)
	require.True(t, ok)
	require.EqualValues(t, a.SPF.Result, spf.Value)
	policy, ok := read[len(read)-1].(*authres.DMARCResult)
	require.True(t, ok)
	require.EqualValues(t, a.DMARC.Result, policy.Value)
	for i, s := range a.DKIM {
		got, ok := read[1+i].(*authres.DKIMResult)
		require.True(t, ok)
		require.EqualValues(t, s.Result, got.Value)
		require.Equal(t, s.Domain, got.Domain)
	}
	return a
}

func TestAValidMailPassesEveryCheck(t *testing.T) {
	t.Parallel()
	a := check(t, dnstest.Zone{
		"news.example.com. TXT":               {"something else", "v=spf1 a:out.example.com -all"},
		"out.example.com. A":                  {"192.0.2.1"},
		"s1._domainkey.example.com. TXT":      {edRecord},
		"_dmarc.news.example.com. TXT":        {"unrelated"},
		"_dmarc.example.com. TXT":             {"v=DMARC1; p=none; sp=REJECT; pct=40; rua=not a uri; ri=x; fo=zz"},
		"s1._domainkey.news.example.com. TXT": {"v=DKIM1; p="},
	}, mailOf(signed(t, mail, "example.com", nil)))
	require.Equal(t, email.SPF{Result: email.Pass, Domain: "news.example.com", ClientIP: "192.0.2.1", Helo: "mx.example.com", Aligned: true, Reason: "matched a"}, a.SPF)
	require.Equal(t, []email.DKIM{{Result: email.Pass, Domain: "example.com", Selector: "s1", Identity: "@example.com", Aligned: true}}, a.DKIM)
	require.Equal(t, email.DMARC{Result: email.Pass, Domain: "news.example.com", RecordDomain: "example.com", Policy: "reject", Percent: 40}, a.DMARC)
	require.Equal(t, email.ARC{}, a.ARC)
	require.Equal(t, "mx.agents.example; spf=pass smtp.mailfrom=news.example.com; dkim=pass header.d=example.com header.i=@example.com header.s=s1; "+
		"dmarc=pass header.from=news.example.com policy.dmarc=reject", a.Results)
}

func TestSPF(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		z      dnstest.Zone
		change func(*mailauth.Mail)
		want   email.Result
		domain string
	}{
		"no record":           {dnstest.Zone{"news.example.com. TXT": {"hello"}}, nil, email.None, ""},
		"no such domain":      {dnstest.Zone{}, nil, email.None, ""},
		"several records":     {dnstest.Zone{"news.example.com. TXT": {"v=spf1 -all", "v=spf1 +all"}}, nil, email.PermError, ""},
		"malformed":           {dnstest.Zone{"news.example.com. TXT": {"v=spf1 apples"}}, nil, email.PermError, ""},
		"fail":                {dnstest.Zone{"news.example.com. TXT": {"v=spf1 ip4:198.51.100.0/24 -all"}}, nil, email.Fail, ""},
		"softfail":            {dnstest.Zone{"news.example.com. TXT": {"v=spf1 ~all"}}, nil, email.SoftFail, ""},
		"neutral":             {dnstest.Zone{"news.example.com. TXT": {"v=spf1"}}, nil, email.Neutral, ""},
		"over TCP":            {dnstest.Zone{"news.example.com. TXT": {dnstest.OverTCP, "v=spf1 ip4:192.0.2.1 -all"}}, nil, email.Pass, ""},
		"long record":         {dnstest.Zone{"news.example.com. TXT": {"v=spf1 " + strings.Repeat("ip4:198.51.100.1 ", 100) + "ip4:192.0.2.1 -all"}}, nil, email.Pass, ""},
		"overlong record":     {dnstest.Zone{"news.example.com. TXT": {"v=spf1 " + strings.Repeat("ip4:198.51.100.1 ", 700) + "+all"}}, nil, email.PermError, ""},
		"SERVFAIL":            {dnstest.Zone{"news.example.com. TXT": {dnstest.ServFail}}, nil, email.TempError, ""},
		"REFUSED":             {dnstest.Zone{"news.example.com. TXT": {dnstest.Refused}}, nil, email.TempError, ""},
		"SERVFAIL amid":       {dnstest.Zone{"news.example.com. TXT": {"v=spf1 include:b.example -all"}, "b.example. TXT": {dnstest.ServFail}}, nil, email.TempError, ""},
		"A without AAAA":      {dnstest.Zone{"news.example.com. TXT": {"v=spf1 a:b.example -all"}, "b.example. A": {"198.51.100.1"}, "b.example. AAAA": {dnstest.ServFail}}, nil, email.TempError, ""},
		"void lookups":        {dnstest.Zone{"news.example.com. TXT": {"v=spf1 a:a.example a:b.example a:c.example ip4:192.0.2.1"}}, nil, email.PermError, ""},
		"two void lookups":    {dnstest.Zone{"news.example.com. TXT": {"v=spf1 a:a.example a:b.example ip4:192.0.2.1"}}, nil, email.Pass, ""},
		"a loop":              {dnstest.Zone{"news.example.com. TXT": {"v=spf1 include:news.example.com -all"}}, nil, email.PermError, ""},
		"the HELO":            {dnstest.Zone{"mx.example.com. TXT": {"v=spf1 ip4:192.0.2.1 -all"}}, func(m *mailauth.Mail) { m.From = "" }, email.Pass, "mx.example.com"},
		"a literal as HELO":   {dnstest.Zone{}, func(m *mailauth.Mail) { m.From, m.Helo = "", "[192.0.2.1]" }, email.None, ""},
		"mapped address":      {dnstest.Zone{"news.example.com. TXT": {"v=spf1 ip4:192.0.2.1 -all"}}, func(m *mailauth.Mail) { m.ClientIP = netip.MustParseAddr("::ffff:192.0.2.1") }, email.Pass, ""},
		"IPv6":                {dnstest.Zone{"news.example.com. TXT": {"v=spf1 ip6:2001:db8::/32 -all"}}, func(m *mailauth.Mail) { m.ClientIP = netip.MustParseAddr("2001:db8::1") }, email.Pass, ""},
		"quoted local part":   {dnstest.Zone{"example.net. TXT": {"v=spf1 -all"}, "evil.example. TXT": {"v=spf1 +all"}}, func(m *mailauth.Mail) { m.From = `"a@evil.example"@example.net` }, email.Fail, "example.net"},
		"domain of no letter": {dnstest.Zone{}, func(m *mailauth.Mail) { m.From = "a@\u2603/x" }, email.None, ""},
		"umlaut":              {dnstest.Zone{"xn--mller-kva.example. TXT": {"v=spf1 +all"}}, func(m *mailauth.Mail) { m.From = "a@Müller.example" }, email.Pass, "xn--mller-kva.example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mailOf(mail)
			if c.change != nil {
				c.change(&m)
			}
			a := check(t, c.z, m)
			require.Equal(t, c.want, a.SPF.Result, a.SPF.Reason)
			if c.domain != "" {
				require.Equal(t, c.domain, a.SPF.Domain)
			}
		})
	}
}

func TestDKIM(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rsaRecord := "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&weak.PublicKey))
	const key = "s1._domainkey.example.com. TXT"
	plain := signed(t, mail, "example.com", nil)
	simple := signed(t, mail, "example.com", func(o *dkim.SignOptions) {
		o.Signer, o.HeaderCanonicalization, o.BodyCanonicalization = weak, dkim.CanonicalizationSimple, dkim.CanonicalizationSimple
	})
	for name, c := range map[string]struct {
		z    dnstest.Zone
		raw  string
		want email.Result
		says string
	}{
		"ed25519":            {dnstest.Zone{key: {edRecord}}, plain, email.Pass, ""},
		"RSA, simple":        {dnstest.Zone{key: {rsaRecord}}, simple, email.Pass, ""},
		"body altered":       {dnstest.Zone{key: {edRecord}}, plain + "P.S.: send money\r\n", email.Fail, "body hash"},
		"subject altered":    {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, "Subject: hi", "Subject: ho", 1), email.Fail, "signature did not verify"},
		"no key":             {dnstest.Zone{}, plain, email.PermError, "no key"},
		"revoked":            {dnstest.Zone{key: {"v=DKIM1; p="}}, plain, email.PermError, "revoked"},
		"two keys":           {dnstest.Zone{key: {edRecord, rsaRecord}}, plain, email.PermError, "multiple"},
		"an overlong key":    {dnstest.Zone{key: {edRecord + strings.Repeat(" ", 5000)}}, plain, email.PermError, "over 4096 bytes"},
		"SERVFAIL":           {dnstest.Zone{key: {dnstest.ServFail}}, plain, email.TempError, ""},
		"REFUSED":            {dnstest.Zone{key: {dnstest.Refused}}, plain, email.TempError, ""},
		"expired":            {dnstest.Zone{key: {edRecord}}, signed(t, mail, "example.com", func(o *dkim.SignOptions) { o.Expiration = time.Unix(1_700_000_000, 0) }), email.Fail, "expired"},
		"a part of the body": {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, " bh=", " l=5; bh=", 1) + "and more\r\n", email.Policy, "l="},
		"no tags":            {dnstest.Zone{}, "DKIM-Signature: hello\r\n" + mail, email.PermError, "malformed"},
		"From not signed":    {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, "From:", "Frum:", 1), email.PermError, "From field"},
		"somebody's i=":      {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, " bh=", " i=@example.org; bh=", 1), email.PermError, "domain mismatch"},
		"a huge signature":   {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, " bh=", " z="+strings.Repeat("x", 9000)+"; bh=", 1), email.PermError, "over 8192 bytes"},
		"a huge header":      {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, "Subject:", strings.Repeat("X: "+strings.Repeat("y", 5000)+"\r\n", 60)+"Subject:", 1), email.PermError, "header has over"},
		"a huge field":       {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, "Subject:", "X: "+strings.Repeat("y\r\n ", 20000)+"\r\nSubject:", 1), email.PermError, "header field has over"},
		"many fields":        {dnstest.Zone{key: {edRecord}}, strings.Replace(plain, "Subject:", strings.Repeat("X:\r\n", 1001)+"Subject:", 1), email.PermError, "1000 fields"},
		"many empty lines":   {dnstest.Zone{key: {edRecord}}, plain + strings.Repeat("\r\n", 40_000) + "x", email.PermError, "empty lines"},
		"bare line ends":     {dnstest.Zone{key: {edRecord}}, strings.ReplaceAll(plain, "\r\n", "\n"), email.Pass, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := check(t, c.z, mailOf(c.raw))
			require.Len(t, a.DKIM, 1)
			require.Equal(t, c.want, a.DKIM[0].Result, a.DKIM[0].Reason)
			require.Contains(t, a.DKIM[0].Reason, c.says)
			if c.want == email.Pass {
				require.Empty(t, a.DKIM[0].Reason)
			}
		})
	}
}

func TestEachSignatureHasItsOwnResult(t *testing.T) {
	t.Parallel()
	raw := signed(t, mail, "example.org", func(o *dkim.SignOptions) { o.Identifier = "list@lists.example.org" })
	raw = signed(t, raw, "broken.example", nil)
	// The topmost signature also signs the two below it.
	raw = signed(t, raw, "news.example.com", func(o *dkim.SignOptions) { o.HeaderKeys = []string{"From", "DKIM-Signature", "DKIM-Signature"} })
	a := check(t, dnstest.Zone{
		"s1._domainkey.example.org. TXT":      {edRecord},
		"s1._domainkey.broken.example. TXT":   {dnstest.ServFail},
		"s1._domainkey.news.example.com. TXT": {edRecord},
	}, mailOf(raw))
	require.Len(t, a.DKIM, 3)
	require.Equal(t, email.DKIM{Result: email.Pass, Domain: "news.example.com", Selector: "s1", Identity: "@news.example.com", Aligned: true}, a.DKIM[0])
	require.Equal(t, email.TempError, a.DKIM[1].Result)
	require.Equal(t, email.DKIM{Result: email.Pass, Domain: "example.org", Selector: "s1", Identity: "list@lists.example.org"}, a.DKIM[2])
}

func TestSignaturesOverTheLimitAreNotVerified(t *testing.T) {
	t.Parallel()
	raw := mail
	for range 20 {
		raw = signed(t, raw, "example.com", nil)
	}
	addr, asked := dnstest.Serve(t, dnstest.Zone{"s1._domainkey.example.com. TXT": {edRecord}})
	a, more := mailauth.New("mx", addr, longTimeout).Check(context.Background(), mailOf(raw))
	require.True(t, more)
	require.Len(t, a.DKIM, 8)
	require.Equal(t, email.Pass, a.DKIM[7].Result)
	require.LessOrEqual(t, asked.Load(), int64(20))
}

func TestDMARC(t *testing.T) {
	t.Parallel()
	const (
		own   = "_dmarc.news.example.com. TXT"
		above = "_dmarc.example.com. TXT"
		spf   = "news.example.com. TXT"
		key   = "s1._domainkey.example.com. TXT"
	)
	sub := signed(t, mail, "example.com", nil)
	passes := []string{"v=spf1 +all"}
	for name, c := range map[string]struct {
		z       dnstest.Zone
		raw     string
		want    email.Result
		policy  string
		percent int
	}{
		"no record":              {dnstest.Zone{spf: passes}, mail, email.None, "", 0},
		"SPF alone":              {dnstest.Zone{spf: passes, own: {"v=DMARC1; p=reject"}}, mail, email.Pass, "reject", 100},
		"DKIM alone, relaxed":    {dnstest.Zone{key: {edRecord}, own: {"v=DMARC1;p=reject"}}, sub, email.Pass, "reject", 100},
		"DKIM alone, strict":     {dnstest.Zone{key: {edRecord}, own: {"v=DMARC1;p=reject;adkim=s"}}, sub, email.Fail, "reject", 100},
		"nothing":                {dnstest.Zone{own: {"v=DMARC1; p=quarantine; pct=0"}}, mail, email.Fail, "quarantine", 0},
		"the domain's own":       {dnstest.Zone{own: {"v=DMARC1; p=none; sp=reject"}, above: {"v=DMARC1; p=reject"}}, mail, email.Fail, "none", 100},
		"the subdomains' policy": {dnstest.Zone{above: {"v=DMARC1; p=reject; sp=quarantine"}}, mail, email.Fail, "quarantine", 100},
		"the organisation's":     {dnstest.Zone{above: {"v=DMARC1; p=reject"}}, mail, email.Fail, "reject", 100},
		"two records":            {dnstest.Zone{own: {"v=DMARC1; p=reject", "v=DMARC1; p=none"}, above: {"v=DMARC1; p=reject"}}, mail, email.None, "", 0},
		"another version":        {dnstest.Zone{own: {"v=DMARC2; p=reject"}}, mail, email.None, "", 0},
		"no policy":              {dnstest.Zone{own: {"v=DMARC1; rua=mailto:x@example.com"}}, mail, email.PermError, "", 0},
		"SERVFAIL":               {dnstest.Zone{spf: passes, own: {dnstest.ServFail}}, mail, email.TempError, "", 0},
		"SERVFAIL above":         {dnstest.Zone{spf: passes, above: {dnstest.ServFail}}, mail, email.TempError, "", 0},
		"SPF unknown":            {dnstest.Zone{spf: {dnstest.ServFail}, own: {"v=DMARC1; p=reject"}}, mail, email.TempError, "reject", 100},
		"key unknown":            {dnstest.Zone{key: {dnstest.ServFail}, own: {"v=DMARC1; p=reject"}}, sub, email.TempError, "reject", 100},
		"key unknown, no matter": {dnstest.Zone{key: {dnstest.ServFail}, spf: passes, own: {"v=DMARC1; p=reject"}}, sub, email.Pass, "reject", 100},
		"key unknown, unaligned": {dnstest.Zone{key: {dnstest.ServFail}, own: {"v=DMARC1; p=reject; adkim=s"}}, sub, email.Fail, "reject", 100},
		"two From fields":        {dnstest.Zone{spf: passes, own: {"v=DMARC1; p=reject"}}, "From: ceo@bank.example\r\n" + mail, email.PermError, "", 0},
		"two domains":            {dnstest.Zone{spf: passes, own: {"v=DMARC1; p=reject"}}, strings.Replace(mail, "<ann@", "<ceo@bank.example>, <ann@", 1), email.PermError, "", 0},
		"two of a domain":        {dnstest.Zone{spf: passes, own: {"v=DMARC1; p=reject"}}, strings.Replace(mail, "<ann@", "<ben@news.example.com>, <ann@", 1), email.Pass, "reject", 100},
		"no From":                {dnstest.Zone{spf: passes}, strings.Replace(mail, "From:", "X:", 1), email.PermError, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := check(t, c.z, mailOf(c.raw))
			require.Equal(t, c.want, a.DMARC.Result, a.DMARC.Reason)
			require.Equal(t, c.policy, a.DMARC.Policy)
			require.Equal(t, c.percent, a.DMARC.Percent)
		})
	}
	// Two domains under one public suffix have different organisational domains.
	raw := strings.Replace(mail, "ann@news.example.com", "ann@one.co.uk", 1)
	m := mailOf(raw)
	m.From = "x@two.co.uk"
	a := check(t, dnstest.Zone{"two.co.uk. TXT": passes, "_dmarc.one.co.uk. TXT": {"v=DMARC1; p=reject"}, "_dmarc.co.uk. TXT": {"v=DMARC1; p=none"}}, m)
	require.Equal(t, email.Pass, a.SPF.Result)
	require.False(t, a.SPF.Aligned)
	require.Equal(t, email.Fail, a.DMARC.Result)
	// Under strict SPF alignment a subdomain does not match its parent.
	m = mailOf(mail)
	m.From = "x@example.com"
	a = check(t, dnstest.Zone{"example.com. TXT": passes, "_dmarc.news.example.com. TXT": {"v=DMARC1; p=reject; aspf=s"}}, m)
	require.False(t, a.SPF.Aligned)
	require.Equal(t, email.Fail, a.DMARC.Result)
}

func TestAnARCChainIsReportedAndChangesNoResult(t *testing.T) {
	t.Parallel()
	set := func(i int, cv string) string {
		return fmt.Sprintf("ARC-Seal: i=%d; a=rsa-sha256; cv=%s; d=relay%d.example; s=x; b=x\r\nARC-Message-Signature: i=%d; d=x\r\nARC-Authentication-Results: i=%d; mx; spf=pass\r\n", i, cv, i, i, i)
	}
	for raw, want := range map[string]email.ARC{
		set(2, "pass") + set(1, "none"): {Sets: 2, Complete: true, ChainValidation: "pass", Sealer: "relay2.example"},
		set(3, "fail") + set(1, "none"): {Sets: 3, ChainValidation: "fail", Sealer: "relay3.example"},
		set(1, "none") + set(1, "none"): {Sets: 1, ChainValidation: "none", Sealer: "relay1.example"},
		set(1, "maybe"):                 {Sets: 1, Complete: true, Sealer: "relay1.example"},
		"ARC-Seal: i=0\r\n":             {},
		"ARC-Seal: i=9999999\r\n":       {},
	} {
		require.Equal(t, want, check(t, dnstest.Zone{}, mailOf(raw+mail)).ARC, raw)
	}
}

func TestASilentDNSServerIsATempError(t *testing.T) {
	t.Parallel()
	addr, _ := dnstest.Serve(t, dnstest.Zone{
		"news.example.com. TXT": {dnstest.Silence}, "s1._domainkey.example.com. TXT": {dnstest.Silence}, "_dmarc.news.example.com. TXT": {dnstest.Silence},
	})
	a, _ := mailauth.New("mx", addr, 50*time.Millisecond).Check(context.Background(), mailOf(signed(t, mail, "example.com", nil)))
	require.Equal(t, email.TempError, a.SPF.Result)
	require.Equal(t, email.TempError, a.DKIM[0].Result)
	require.Equal(t, "example.com", a.DKIM[0].Domain)
	require.Equal(t, email.TempError, a.DMARC.Result)
	require.Equal(t, "mx; spf=temperror smtp.mailfrom=news.example.com; dkim=temperror header.d=example.com header.i=@example.com header.s=s1; dmarc=temperror header.from=news.example.com", a.Results)
}

func TestLookupsAreLimited(t *testing.T) {
	t.Parallel()
	z := dnstest.Zone{"news.example.com. TXT": {"v=spf1"}}
	for i := range 10 {
		z["news.example.com. TXT"][0] += fmt.Sprintf(" mx:m%d.example", i)
		for j := range 10 {
			z[fmt.Sprintf("m%d.example. MX", i)] = append(z[fmt.Sprintf("m%d.example. MX", i)], fmt.Sprintf("10 h%d-%d.example.", i, j))
			z[fmt.Sprintf("h%d-%d.example. A", i, j)] = []string{"198.51.100.1"}
		}
	}
	addr, asked := dnstest.Serve(t, z)
	a, _ := mailauth.New("mx", addr, longTimeout).Check(context.Background(), mailOf(mail))
	require.Equal(t, email.TempError, a.SPF.Result)
	require.Contains(t, a.SPF.Reason, "over 100 lookups")
	require.Less(t, asked.Load(), int64(250))
}

func TestTextsOfTheMailCannotForgeResults(t *testing.T) {
	t.Parallel()
	m := mailOf("DKIM-Signature: v=1; d=x\"; dmarc=pass; s=\"dmarc=pass\"; i=\"\r\n" + mail)
	m.Helo, m.From = "a\"; dmarc=pass (\\\" b.example", "\"\\\"; dmarc=pass\"@e\"; dmarc=pass"
	a := check(t, dnstest.Zone{}, m)
	require.NotContains(t, a.Results, "pass")
	require.NotContains(t, a.Results, `"`)
	require.NotContains(t, a.SPF.Helo, "\x00")
}
