package e2e_test

import (
	"context"
	"encoding/json"
	"net/smtp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestFiltersOnDataSelectMailAndEventsOfTheirTenant sends mails over SMTP and events over HTTP to two tenants with the same
// filters. Each webhook gets those of its tenant that its filter selects, and a webhook without one gets all.
func TestFiltersOnDataSelectMailAndEventsOfTheirTenant(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	r := newRig(ctx, t)
	receiver := sink.New(t)
	operator := r.operatorKey(ctx)
	filters := map[string]string{"all": `{}`, "vip": `{"from.address": "vip@example.net"}`, "large": `{"amount": {"gt": 9007199254740992}}`}
	for _, name := range []string{"one", "two"} {
		var tenant struct{ ID string }
		r.call(ctx, operator, "POST", "/v1/tenants", map[string]any{"name": name}, &tenant)
		var key struct{ Secret string }
		r.call(ctx, operator, "POST", "/v1/keys", map[string]any{"tenant_id": tenant.ID}, &key)
		domain := name + ".example.com"
		r.call(ctx, operator, "POST", "/v1/domains", map[string]any{"tenant_id": tenant.ID, "domain": domain}, nil)
		r.call(ctx, key.Secret, "POST", "/v1/agents", map[string]any{"address": "robot@" + domain}, nil)
		for filter, conditions := range filters {
			path := "/" + name + "/" + filter
			var hook struct {
				SigningSecret string `json:"signing_secret"`
			}
			r.call(ctx, key.Secret, "POST", "/v1/webhooks", map[string]any{
				"url": receiver.URL(path), "events": []string{"*"}, "filters": map[string]any{"data": json.RawMessage(conditions)},
			}, &hook)
			receiver.Secret(path, hook.SigningSecret)
		}
		for _, from := range []string{"vip@example.net", "ann@example.net"} {
			mail := "From: <" + from + ">\r\nTo: robot@" + domain + "\r\nSubject: " + from + " to " + name + "\r\nMessage-ID: <" + from + name + ">\r\n\r\nHello\r\n"
			require.NoError(t, smtp.SendMail(r.smtp, nil, from, []string{"robot@" + domain}, []byte(mail)))
		}
		for _, data := range []string{`{"subject": "small", "amount": 9007199254740992}`, `{"subject": "large", "amount": 9007199254740993.0}`, `{"subject": "none"}`} {
			r.call(ctx, key.Secret, "POST", "/v1/events", map[string]any{"type": "email.sent", "data": json.RawMessage(data)}, nil)
		}
	}
	for _, name := range []string{"one", "two"} {
		require.NoError(t, receiver.WaitForPath(ctx, "/"+name+"/all", 5))
		require.NoError(t, receiver.WaitForPath(ctx, "/"+name+"/vip", 1))
		require.NoError(t, receiver.WaitForPath(ctx, "/"+name+"/large", 1))
		for filter, want := range map[string][]string{
			"all": {"ann@example.net to " + name, "large", "none", "small", "vip@example.net to " + name}, "vip": {"vip@example.net to " + name}, "large": {"large"},
		} {
			var got []string
			for _, p := range receiver.PostsTo("/" + name + "/" + filter) {
				require.NoError(t, p.VerifyErr)
				var envelope struct{ Data struct{ Subject string } }
				require.NoError(t, json.Unmarshal(p.Body, &envelope))
				got = append(got, envelope.Data.Subject)
			}
			slices.Sort(got)
			require.Equal(t, want, got, filter)
		}
	}
	// All events are fanned out, so that no further delivery can follow.
	require.Zero(t, r.count(ctx, `SELECT count(*) FROM fanmail.outbox`))
	require.Equal(t, 2*(5+1+1), r.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries`))
}
