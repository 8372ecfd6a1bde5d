package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/emersion/go-smtp"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// tenant is an account, and what it takes to act for it.
type tenant struct {
	name   string
	id     string
	key    string
	agents []string
}

// wish is a webhook to create.
type wish struct {
	tenant, name string
	agents       []int // none: all
	cap          int
	strict       bool
	// slowest is the longest time until an answer.
	slowest time.Duration
	// stumbles is how many in a thousand first attempts are refused.
	stumbles uint32
	// off: it is created disabled.
	off bool
}

// wishes are the webhooks of a run. Tenant a gets mail; tenant b's events come through the API, with a
// flood now and then; tenant c's are inserted and strictly ordered.
func wishes(stumbles uint32) []wish {
	return []wish{
		{tenant: "a", name: "everything", cap: 32, slowest: 10 * time.Millisecond},
		{tenant: "a", name: "filtered", agents: []int{0, 1}, cap: 32, slowest: 30 * time.Millisecond},
		{tenant: "a", name: "slow", agents: []int{2}, cap: 4, slowest: 1500 * time.Millisecond},
		{tenant: "a", name: "moody-1", cap: 8, slowest: 20 * time.Millisecond},
		{tenant: "a", name: "moody-2", agents: []int{1, 3}, cap: 32, slowest: 20 * time.Millisecond},
		{tenant: "b", name: "neighbour", cap: 32, slowest: 10 * time.Millisecond},
		{tenant: "b", name: "moody-3", cap: 16, slowest: 20 * time.Millisecond},
		{tenant: "c", name: "line", cap: 32, strict: true, slowest: 20 * time.Millisecond},
		{tenant: "c", name: "stumbling line", cap: 32, strict: true, slowest: 10 * time.Millisecond, stumbles: stumbles},
		{tenant: "c", name: "one at a time", cap: 1, slowest: 100 * time.Millisecond},
		{tenant: "c", name: "two at a time", cap: 2, slowest: 300 * time.Millisecond, stumbles: stumbles},
	}
}

// attackedTenant has agents and no webhook. Attackers send their mails to it.
const attackedTenant = "d"

// settle creates the tenants, agents and webhooks.
func (r *rig) settle(ctx context.Context, hooks []wish) (map[string]*tenant, error) {
	operator, err := tenancy.BootstrapOperatorKey(ctx, r.pool)
	if err != nil {
		return nil, err
	}
	tenants := map[string]*tenant{}
	for _, name := range []string{"a", "b", "c", attackedTenant} {
		t := &tenant{name: name}
		tenants[name] = t
		var made struct{ ID, Secret string }
		if err := r.ask(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": name}, &made); err != nil {
			return nil, err
		}
		t.id = made.ID
		if err := r.ask(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": t.id}, &made); err != nil {
			return nil, err
		}
		t.key = made.Secret
		if name == attackedTenant {
			r.attackedKey = t.key
		}
		domain := map[string]any{"tenant_id": t.id, "domain": name + ".example.com"}
		if err := r.ask(ctx, operator, http.MethodPost, "/v1/domains", domain, &struct{}{}); err != nil {
			return nil, err
		}
		for n := range 4 {
			address := fmt.Sprintf("agent-%d@%s.example.com", n, name)
			t.agents = append(t.agents, address)
			if err := r.ask(ctx, t.key, http.MethodPost, "/v1/agents", map[string]any{"address": address}, &struct{}{}); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range hooks {
		if _, err := r.makeHook(ctx, tenants[w.tenant], w); err != nil {
			return nil, err
		}
	}
	for _, t := range tenants {
		for _, address := range t.agents {
			if err := r.knownAtEdge(ctx, address); err != nil {
				return nil, err
			}
		}
	}
	return tenants, nil
}

// knownAtEdge waits until the edge takes mail for a new agent, of which it hears a second late.
func (r *rig) knownAtEdge(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return backoff.Retry(func() error {
		c, err := smtp.Dial(r.edge)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := c.Mail("sender@example.net", nil); err != nil {
			return err
		}
		if err := c.Rcpt(address, nil); err != nil {
			return fmt.Errorf("the edge does not know %s: %w", address, err)
		}
		return nil
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
}

func (r *rig) makeHook(ctx context.Context, t *tenant, w wish) (*changing, error) {
	path := hookPath(w.name)
	in := map[string]any{"url": r.receiver.base + path, "events": []events.Type{events.EmailReceived}, "max_in_flight": w.cap, "description": w.name}
	h := &history.Hook{Name: w.name, Tenant: w.tenant, Cap: w.cap, Strict: w.strict, Off: w.off}
	for _, n := range w.agents {
		h.Agents = append(h.Agents, t.agents[n])
	}
	if len(h.Agents) > 0 {
		in["filters"] = map[string]any{"agent_ids": h.Agents}
	}
	if w.off {
		in["enabled"] = false
	}
	if w.strict {
		in["ordering"] = "strict"
	}
	var made struct {
		ID     string `json:"id"`
		Secret string `json:"signing_secret"`
	}
	if err := r.insist(ctx, t.key, "make "+path, http.MethodPost, "/v1/webhooks", in, &made); err != nil {
		return nil, err
	}
	h.ID = made.ID
	e := &endpoint{
		id: made.ID, secret: made.Secret,
		delay: func() time.Duration { return rand.N(w.slowest) },
		stumble: func(token string, attempt int) bool {
			sum := fnv.New32a()
			_, _ = sum.Write([]byte(token)) // it never fails
			return attempt == 1 && sum.Sum32()%1000 < w.stumbles
		},
	}
	r.receiver.add(path, e)
	r.history.Append(history.Record{Kind: history.KindHook, Hook: h})
	return &changing{id: h.ID, path: path, e: e, now: history.Change{Hook: h.ID, On: !w.off, Agents: h.Agents}}, nil
}

// hookPath is the path of a webhook's URL.
func hookPath(name string) string { return strings.ReplaceAll(name, " ", "-") }
