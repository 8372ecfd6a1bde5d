package main

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

type natsUserCmd struct {
	Tenant string `arg:"" help:"The tenant's id." of:"tenant"`
}

// Run prints an account of NATS with a user that may hand in events of one tenant, hear which of them were refused, and
// nothing else.
func (c *natsUserCmd) Run(s *session) error {
	var tenant events.TenantID
	if err := tenant.UnmarshalText([]byte(c.Tenant)); err != nil {
		return fmt.Errorf("%q is not a tenant's id, such as ten_ and 32 hexadecimal digits", c.Tenant)
	}
	s.note("First create the tenant's intake stream: 'fanmail streams --intake-tenants " + tenant.String() + "', with all other tenants that have one. Then put this into the accounts of accounts.conf, beside FANMAIL, and run 'nats-server --signal reload' twice: the server connects the imports of a new account at the second time. The password is shown only now. Its clients use the inbox prefix _INBOX_" + tenant.String() + ". They hear on " + events.DeadIntakePrefix + tenant.String() + " which messages were refused, and why.")
	// The account imports the user's own subjects alone, so that answers of the broker reach no others. Its limits keep
	// one producer from taking all of the broker's connections. Its intake subject is another one where the streams are, so
	// that its messages fill a stream of their own.
	s.say(`"intake-%[1]s" {
  limits {
    max_connections: 64
    max_subscriptions: 1024
  }
  users: [{
    user: "intake-%[1]s"
    password: "%[2]s"
    permissions {
      publish: ["%[3]s"]
      subscribe: ["_INBOX_%[1]s.>", "%[4]s"]
    }
  }]
  imports: [
    {service: {account: FANMAIL, subject: "%[5]s"}, to: "%[3]s"}
    {stream: {account: INGEST, subject: "%[4]s"}}
  ]
}`, tenant, strings.ToLower(rand.Text()), events.IntakePrefix+tenant.String(), events.DeadIntakePrefix+tenant.String(), events.OwnIntakePrefix+tenant.String())
	return nil
}
