package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

const (
	mails    = 2000
	agents   = 20
	webhooks = 50
)

// plan lists the agents of each webhook's filter: two webhooks match everything, some agents are
// popular, and every agent has a webhook of its own. A mail matches five webhooks on average, and
// agent 0's mail more than twenty.
func plan() [webhooks][]int {
	var p [webhooks][]int // nil: all of them
	n := 2
	give := func(agent, hooks int) {
		for range hooks {
			p[n] = append(p[n], agent)
			if n++; n == webhooks {
				n = 2 // the first ones get a second agent
			}
		}
	}
	give(0, 20)
	give(1, 12)
	give(2, 8)
	give(3, 4)
	for agent := 4; agent < agents; agent++ {
		give(agent, 1)
	}
	return p
}

func agentAddress(n int) string { return fmt.Sprintf("agent-%02d@example.com", n) }

func subject(mail int) string { return fmt.Sprintf("mail %04d", mail) }

func webhookPath(n int) string { return fmt.Sprintf("/webhook/%02d", n) }

// delivery is a mail for a webhook.
type delivery struct{ subject, path string }

// expected returns the deliveries of the mails by the plan. Mail n goes to agent n modulo the agents.
func expected() map[delivery]bool {
	want := map[delivery]bool{}
	for mail := range mails {
		for hook, wants := range plan() {
			if wants == nil || slices.Contains(wants, mail%agents) {
				want[delivery{subject(mail), webhookPath(hook)}] = true
			}
		}
	}
	return want
}

func TestPlanMakesTenThousandDeliveries(t *testing.T) {
	t.Parallel()
	require.Len(t, expected(), 10_000)
}

// settle creates the tenant, its agents and its webhooks through the API, and returns the tenant's
// key.
func settle(ctx context.Context, r *rig, s *sink.Sink) string {
	r.t.Helper()
	return settleAs(ctx, r, s, r.operatorKey(ctx))
}

func settleAs(ctx context.Context, r *rig, s *sink.Sink, operator string) string {
	r.t.Helper()
	var tenant struct{ ID string }
	r.call(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "crash test"}, &tenant)
	var key struct{ Secret string }
	r.call(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": tenant.ID}, &key)
	r.call(ctx, operator, http.MethodPost, "/v1/domains", map[string]any{"tenant_id": tenant.ID, "domain": "*"}, nil)
	for n := range agents {
		r.call(ctx, key.Secret, http.MethodPost, "/v1/agents", map[string]any{"address": agentAddress(n)}, nil)
	}
	for n, wants := range plan() {
		hook := map[string]any{"url": s.URL(webhookPath(n)), "events": []string{"email.received"}}
		if wants != nil {
			var ids []string
			for _, agent := range wants {
				ids = append(ids, agentAddress(agent))
			}
			hook["filters"] = map[string]any{"agent_ids": ids}
		}
		var made struct {
			SigningSecret string `json:"signing_secret"`
		}
		r.call(ctx, key.Secret, http.MethodPost, "/v1/webhooks", hook, &made)
		s.Secret(webhookPath(n), made.SigningSecret)
	}
	return key.Secret
}
