package ingest_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/test/dnstest"
)

const author = "From: Ann <ann@example.org>\r\nTo: a@example.com\r\nSubject: hi\r\nDate: Mon, 2 Jan 2026 15:04:05 +0100\r\n\r\nHello\r\n"

// A mail over SMTP, with a signature and records that fit it.
func TestTheAuthenticationOfTheSenderIsInTheEvent(t *testing.T) {
	t.Parallel()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	public, ok := key.Public().(ed25519.PublicKey)
	require.True(t, ok)
	dns, _ := dnstest.Serve(t, dnstest.Zone{
		"example.org. TXT":               {"v=spf1 ip4:127.0.0.1 -all"},
		"s1._domainkey.example.org. TXT": {"k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)},
		"_dmarc.example.org. TXT":        {"v=DMARC1; p=reject"},
	})
	pool, s := quick(t, ingest.Options{Domain: "mx.example.com", Authenticate: true, DNSServer: dns, AuthTimeout: patience})
	var raw bytes.Buffer
	require.NoError(t, dkim.Sign(&raw, strings.NewReader(author), &dkim.SignOptions{Domain: "example.org", Selector: "s1", Signer: key}))
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, raw.String())
	got := mails(t, pool)[0].Data.Authentication
	require.Equal(t, email.Authentication{
		Checked: true,
		Results: "mx.example.com; spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org header.i=@example.org header.s=s1; dmarc=pass header.from=example.org policy.dmarc=reject",
		SPF:     email.SPF{Result: email.Pass, Domain: "example.org", ClientIP: "127.0.0.1", Helo: "client.example", Aligned: true, Reason: "matched ip"},
		DKIM:    []email.DKIM{{Result: email.Pass, Domain: "example.org", Selector: "s1", Identity: "@example.org", Aligned: true}},
		DMARC:   email.DMARC{Result: email.Pass, Domain: "example.org", RecordDomain: "example.org", Policy: "reject", Percent: 100},
	}, got)
}

// DNS that never answers delays a mail by the time-out and no more, and the
// unknown says that nothing is known.
func TestSilentDNSHoldsNoMailUp(t *testing.T) {
	t.Parallel()
	dns, _ := dnstest.Serve(t, dnstest.Zone{"example.org. TXT": {dnstest.Silence}, "_dmarc.example.org. TXT": {dnstest.Silence}})
	pool, s := quick(t, ingest.Options{Authenticate: true, DNSServer: dns, AuthTimeout: 50 * time.Millisecond})
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, author)
	got := mails(t, pool)[0].Data.Authentication
	require.Equal(t, email.TempError, got.SPF.Result)
	require.Equal(t, email.TempError, got.DMARC.Result)
	require.Empty(t, got.DKIM)
}

func TestMoreSignaturesThanAreLookedAtIsMarked(t *testing.T) {
	t.Parallel()
	dns, _ := dnstest.Serve(t, dnstest.Zone{})
	pool, s := quick(t, ingest.Options{Authenticate: true, DNSServer: dns, AuthTimeout: patience})
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, strings.Repeat("DKIM-Signature: v=1\r\n", 20)+author)
	d := mails(t, pool)[0].Data
	require.Len(t, d.Authentication.DKIM, 8)
	require.Equal(t, []string{"authentication"}, d.Truncated)
}
