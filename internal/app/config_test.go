package app

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAFaultyConfigurationNamesFlagAndEnvironment(t *testing.T) {
	t.Parallel()
	db := Database{URL: "postgres://fanmail@127.0.0.1/fanmail"}
	broker := NATS{URL: "nats://127.0.0.1:4222"}
	publisher := func(change func(*PublisherConfig)) Config {
		c := PublisherConfig{Database: db, NATS: broker}
		change(&c)
		return c
	}
	dispatcher := func(change func(*DispatcherConfig)) Config {
		c := DispatcherConfig{Database: db, NATS: broker}
		change(&c)
		return c
	}
	ingest := func(change func(*IngestConfig)) Config {
		c := IngestConfig{Database: db, NATS: broker, SMTP: SMTP{Addr: "127.0.0.1:0"}}
		change(&c)
		return c
	}
	api := func(change func(*APIConfig)) Config {
		c := APIConfig{Database: db, NATS: broker, Addr: "127.0.0.1:0"}
		change(&c)
		return c
	}
	absent := filepath.Join(t.TempDir(), "absent")
	for name, tc := range map[string]struct {
		config    Config
		flag, env string
	}{
		"no database":       {publisher(func(c *PublisherConfig) { c.Database.URL = "" }), "--database-url", "FANMAIL_DATABASE_URL"},
		"bad database":      {publisher(func(c *PublisherConfig) { c.Database.URL = "postgres://u:hunter2@h:no/x" }), "--database-url", "FANMAIL_DATABASE_URL"},
		"connections":       {publisher(func(c *PublisherConfig) { c.MaxConns = -1 }), "--database-max-conns", "FANMAIL_DATABASE_MAX_CONNS"},
		"no broker":         {publisher(func(c *PublisherConfig) { c.NATS.URL = "" }), "--nats-url", "FANMAIL_NATS_URL"},
		"bad broker":        {publisher(func(c *PublisherConfig) { c.NATS.URL = "http://127.0.0.1" }), "--nats-url", "FANMAIL_NATS_URL"},
		"one bad of two":    {publisher(func(c *PublisherConfig) { c.NATS.URL = "nats://a:1,b" }), "--nats-url", "FANMAIL_NATS_URL"},
		"domain and prefix": {publisher(func(c *PublisherConfig) { c.Domain, c.Prefix = "hub", "JS.x.API" }), "--nats-js-domain", "FANMAIL_NATS_JS_DOMAIN"},
		"domain":            {publisher(func(c *PublisherConfig) { c.Domain = "a.b" }), "--nats-js-domain", "FANMAIL_NATS_JS_DOMAIN"},
		"prefix":            {publisher(func(c *PublisherConfig) { c.Prefix = "JS.>" }), "--nats-js-api-prefix", "FANMAIL_NATS_JS_API_PREFIX"},
		"absent file":       {publisher(func(c *PublisherConfig) { c.Creds = absent }), "--nats-creds", "FANMAIL_NATS_CREDS"},
		"absent CA":         {publisher(func(c *PublisherConfig) { c.CA = absent }), "--nats-ca", "FANMAIL_NATS_CA"},
		"faulty creds":      {publisher(func(c *PublisherConfig) { c.Creds = "config_test.go" }), "--nats-creds", "FANMAIL_NATS_CREDS"},
		"port of broker":    {publisher(func(c *PublisherConfig) { c.NATS.URL = "nats://a:4222,nats://b:99999" }), "--nats-url", "FANMAIL_NATS_URL"},
		"port of proxy":     {dispatcher(func(c *DispatcherConfig) { c.Proxy.Proxy = "http://127.0.0.1:99999" }), "--proxy", "FANMAIL_PROXY"},
		"cert without key":  {publisher(func(c *PublisherConfig) { c.Cert = "config_test.go" }), "--nats-key", "FANMAIL_NATS_KEY"},
		"replicas":          {publisher(func(c *PublisherConfig) { c.StreamReplicas = 9 }), "--stream-replicas", "FANMAIL_STREAM_REPLICAS"},
		"age":               {publisher(func(c *PublisherConfig) { c.EventsMaxAge = time.Second }), "--events-max-age", "FANMAIL_EVENTS_MAX_AGE"},
		"bytes":             {publisher(func(c *PublisherConfig) { c.EventsMaxBytes = -1 }), "--events-max-bytes", "FANMAIL_EVENTS_MAX_BYTES"},
		"health address":    {publisher(func(c *PublisherConfig) { c.HTTPAddr = "9101" }), "--http-addr", "FANMAIL_HTTP_ADDR"},
		"drain":             {publisher(func(c *PublisherConfig) { c.Drain = -1 }), "--drain", "FANMAIL_DRAIN"},
		"events too short":  {dispatcher(func(c *DispatcherConfig) { c.Events = 71 * time.Hour }), "--event-retention", "FANMAIL_EVENT_RETENTION"},
		"deliveries by day": {dispatcher(func(c *DispatcherConfig) { c.Deliveries = 73 * time.Hour }), "--delivery-retention", "FANMAIL_DELIVERY_RETENTION"},
		"attempts too long": {dispatcher(func(c *DispatcherConfig) { c.Attempts = 744 * time.Hour }), "--attempt-retention", "FANMAIL_ATTEMPT_RETENTION"},
		"mail negative":     {api(func(c *APIConfig) { c.Mail = -72 * time.Hour }), "--mail-retention", "FANMAIL_MAIL_RETENTION"},
		"proxy":             {dispatcher(func(c *DispatcherConfig) { c.Proxy.Proxy = "x" }), "--proxy", "FANMAIL_PROXY"},
		"slots":             {dispatcher(func(c *DispatcherConfig) { c.Slots = -1 }), "--slots", "FANMAIL_SLOTS"},
		"agent slots":       {dispatcher(func(c *DispatcherConfig) { c.AgentSlots = -1 }), "--agent-slots", "FANMAIL_AGENT_SLOTS"},
		"early sunset": {dispatcher(func(c *DispatcherConfig) {
			c.Deprecated, c.Sunset = time.Unix(86400, 0), time.Unix(0, 0)
		}), "--agent-webhooks-sunset", "FANMAIL_AGENT_WEBHOOKS_SUNSET"},
		"slow slots":    {dispatcher(func(c *DispatcherConfig) { c.SlowSlots = -1 }), "--slow-slots", "FANMAIL_SLOW_SLOTS"},
		"recipients":    {ingest(func(c *IngestConfig) { c.MaxRecipients = 5000 }), "--max-recipients", "FANMAIL_MAX_RECIPIENTS"},
		"SMTP address":  {ingest(func(c *IngestConfig) { c.Addr = "nowhere" }), "--smtp-addr", "FANMAIL_SMTP_ADDR"},
		"SMTP key":      {ingest(func(c *IngestConfig) { c.TLSCert = absent }), "--smtp-tls-key", "FANMAIL_SMTP_TLS_KEY"},
		"SMTP pair":     {ingest(func(c *IngestConfig) { c.TLSCert, c.TLSKey = absent, absent }), "--smtp-tls-cert", "FANMAIL_SMTP_TLS_CERT"},
		"message":       {ingest(func(c *IngestConfig) { c.MaxMessageBytes = -1 }), "--max-message-bytes", "FANMAIL_MAX_MESSAGE_BYTES"},
		"DNS server":    {ingest(func(c *IngestConfig) { c.DNSServer = "192.0.2.53" }), "--dns-server", "FANMAIL_DNS_SERVER"},
		"check timeout": {ingest(func(c *IngestConfig) { c.AuthTimeout = -1 }), "--mail-auth-timeout", "FANMAIL_MAIL_AUTH_TIMEOUT"},
		"public URL":    {ingest(func(c *IngestConfig) { c.PublicURL = "here" }), "--public-url", "FANMAIL_PUBLIC_URL"},
		"API address":   {api(func(c *APIConfig) { c.Addr = "8080" }), "--api-addr", "FANMAIL_API_ADDR"},
		"in flight":     {api(func(c *APIConfig) { c.MaxInFlight = 4097 }), "--default-max-in-flight", "FANMAIL_DEFAULT_MAX_IN_FLIGHT"},
		"webhooks":      {api(func(c *APIConfig) { c.MaxWebhooks = -1 }), "--max-webhooks", "FANMAIL_MAX_WEBHOOKS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.config.Validate()
			require.ErrorContains(t, err, tc.flag)
			require.ErrorContains(t, err, tc.env)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestUpRefusesAddressesThatAreNone(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, UpConfig{SMTPAddr: "x", APIAddr: ":0"}.Validate(), "--smtp (FANMAIL_SMTP_ADDR)")
	require.ErrorContains(t, UpConfig{SMTPAddr: ":0", APIAddr: "x"}.Validate(), "--api (FANMAIL_API_ADDR)")
	require.ErrorContains(t, UpConfig{SMTPAddr: ":0", APIAddr: ":0", DatabaseURL: "port=x"}.Validate(), "--database-url")
	require.ErrorContains(t, UpConfig{SMTPAddr: ":0", APIAddr: ":0", NATSURL: "x"}.Validate(), "--nats-url")
	require.NoError(t, UpConfig{SMTPAddr: ":0", APIAddr: ":0"}.Validate())
}

func TestFlagsAndEnvironmentFillTheSameConfiguration(t *testing.T) {
	t.Setenv("FANMAIL_DATABASE_URL", "postgres://env@127.0.0.1/fanmail")
	t.Setenv("FANMAIL_NATS_URL", "nats://127.0.0.1:4222")
	t.Setenv("FANMAIL_ALLOW_HTTP", "true")
	t.Setenv("FANMAIL_ALLOW_NETWORKS", "127.0.0.0/8,10.0.0.0/8")
	t.Setenv("FANMAIL_DRAIN", "3s")
	t.Setenv("FANMAIL_AGENT_WEBHOOKS_SUNSET", "2027-06-01")
	c, err := Parse[DispatcherConfig]([]string{"--nats-url=nats://flag:4222"}, "dispatcher", "", "127.0.0.1:9102")
	require.NoError(t, err)
	require.Equal(t, "postgres://env@127.0.0.1/fanmail", c.Database.URL.Reveal())
	require.Equal(t, "nats://flag:4222", c.NATS.URL.Reveal(), "a flag takes precedence over the environment")
	require.True(t, c.AllowHTTP)
	require.Len(t, c.AllowNetworks, 2)
	require.Equal(t, 3*time.Second, c.Drain)
	require.Equal(t, time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC), c.Sunset)
	require.Equal(t, "127.0.0.1:9102", c.HTTPAddr)

	_, err = Parse[DispatcherConfig]([]string{"--allow-networks=1.2.3"}, "dispatcher", "", "")
	require.ErrorContains(t, err, "--allow-networks")
	t.Setenv("FANMAIL_DATABASE_URL", "")
	_, err = Parse[DispatcherConfig](nil, "dispatcher", "", "127.0.0.1:9102")
	require.ErrorContains(t, err, "set --database-url (FANMAIL_DATABASE_URL)")
}
