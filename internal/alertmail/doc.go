// Package alertmail sends a tenant's people mails about its webhooks: one fails for an
// hour, was disabled, or has recovered.
//
// It guarantees:
//
//   - A mail that package opevents has due is sent to the tenant's alert addresses, over
//     the one relay that the operator names. It is sent again only if this process died,
//     or lost the database, between the relay's answer and the record of it. It then has
//     the same Message-ID.
//   - A relay that is away or refuses loses no mail: mails wait in their table for three
//     days. Nothing of the deliveries waits for a relay.
//   - What strangers wrote (descriptions, URLs, errors) is text in the mail: it adds no
//     header, no markup and no address. Of a URL only scheme, host and path are shown.
//   - A relay's password reaches no log and no error, and is sent over TLS alone.
//
// Which mails are due, and at most one a day of each webhook, is the matter of package
// opevents; whose addresses they go to, that of package tenancy.
package alertmail
