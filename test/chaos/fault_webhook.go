package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

// churn changes webhooks during all other faults. One lane runs them, so that a webhook changes in one
// way at a time.
type churn struct {
	l     *load
	made  int
	hooks []*changing
}

// changing is a webhook that changes.
type changing struct {
	id, path string
	e        *endpoint
	now      history.Change // its current settings
}

// faults are the ways in which webhooks change.
func (c *churn) faults() []fault {
	var out []fault
	for name, do := range map[string]func(context.Context, *rig, *rand.Rand, *changing) error{
		"webhook.disabled": c.disable, "webhook.changed": c.change, "webhook.rotated": c.rotate, "webhook.deleted": c.remove,
	} {
		out = append(out, fault{name, "tenant", func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
			if len(c.hooks) == 0 {
				if err := c.create(ctx, r); err != nil {
					return "", err
				}
			}
			h := c.hooks[rnd.IntN(len(c.hooks))]
			return h.path, do(ctx, r, rnd, h)
		}})
	}
	out = append(out, fault{"webhook.created", "tenant", func(ctx context.Context, r *rig, _ *rand.Rand) (string, error) {
		err := c.create(ctx, r)
		return fmt.Sprintf("%d in all", len(c.hooks)), err
	}})
	slices.SortFunc(out, func(a, b fault) int { return strings.Compare(a.name, b.name) }) // the order that the seed expects
	return out
}

func (c *churn) tenant() *tenant { return c.l.tenants["b"] }

// create makes a disabled webhook, so that its id and secret are known before its first event, and
// enables it.
func (c *churn) create(ctx context.Context, r *rig) error {
	c.made++
	h, err := r.makeHook(ctx, c.tenant(), wish{tenant: "b", name: fmt.Sprintf("changing %d", c.made), cap: 32, slowest: 20 * time.Millisecond, off: true})
	if err != nil {
		return err
	}
	h.now.On = true
	if err := c.apply(ctx, r, h, map[string]any{"enabled": true}); err != nil {
		return err
	}
	c.hooks = append(c.hooks, h)
	return nil
}

// apply sends a change and records the webhook's new settings.
func (c *churn) apply(ctx context.Context, r *rig, h *changing, in map[string]any) error {
	change := h.now
	change.Asked = r.now()
	method, path := http.MethodPatch, "/v1/webhooks/"+h.id
	if change.Gone {
		method, in = http.MethodDelete, nil
	}
	var body any
	if in != nil {
		body = in
	}
	if err := r.insist(ctx, c.tenant().key, "", method, path, body, nil); err != nil {
		return err
	}
	change.Done = r.now()
	r.history.Append(history.Record{Kind: history.KindChange, Change: &change})
	return nil
}

func (c *churn) disable(ctx context.Context, r *rig, rnd *rand.Rand, h *changing) error {
	h.now.On = false
	if err := c.apply(ctx, r, h, map[string]any{"enabled": false}); err != nil {
		return err
	}
	last(ctx, between(rnd, 2*time.Second, 8*time.Second))
	h.now.On = true
	return c.apply(ctx, r, h, map[string]any{"enabled": true})
}

// change gives it other agents and another URL.
func (c *churn) change(ctx context.Context, r *rig, rnd *rand.Rand, h *changing) error {
	all := c.tenant().agents
	h.now.Agents = []string{all[rnd.IntN(2)], all[2+rnd.IntN(2)]}
	h.path += "-"
	r.receiver.paths.Store(h.path, h.e)
	return c.apply(ctx, r, h, map[string]any{"filters": map[string]any{"agent_ids": h.now.Agents}, "url": r.receiver.base + h.path})
}

// rotate gives it another secret. Both secrets verify from then on.
func (c *churn) rotate(ctx context.Context, r *rig, rnd *rand.Rand, h *changing) error {
	var made struct {
		Secret string `json:"signing_secret"`
	}
	key := fmt.Sprintf("rotate-%d", rnd.Uint64())
	if err := r.insist(ctx, c.tenant().key, key, http.MethodPost, "/v1/webhooks/"+h.id+"/rotate-secret", nil, &made); err != nil {
		return err
	}
	h.e.accept(made.Secret)
	return nil
}

func (c *churn) remove(ctx context.Context, r *rig, _ *rand.Rand, h *changing) error {
	h.now.Gone = true
	if err := c.apply(ctx, r, h, nil); err != nil {
		return err
	}
	c.hooks = slices.DeleteFunc(c.hooks, func(o *changing) bool { return o == h })
	return nil
}
