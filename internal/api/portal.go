package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// portalPath is where the console serves portal links.
const portalPath = "/console/portal/"

// newPortal is a portal link in the only response that has its URL.
type newPortal struct {
	tenancy.Portal
	URL string `json:"url" doc:"Whoever has it sees the webhooks. Shown only here."`
}

type createPortalInput struct {
	Body struct {
		WebhookIDs []webhookRef  `json:"webhook_ids" minItems:"1" maxItems:"20" doc:"The webhooks that the link shows."`
		ExpiresIn  lifetime      `json:"expires_in,omitempty" example:"24h" doc:"How long the link is valid, from 1m to 720h. Defaults to 1h."`
		Origins    []storedText  `json:"origins,omitempty" maxItems:"10" example:"[\"https://app.example.com\"]" doc:"The origins whose pages may show the link in a frame. Defaults to none."`
		Theme      tenancy.Theme `json:"theme,omitempty" doc:"Colours, logo and language of the pages."`
	} `nameHint:"PortalLinkSettings"`
	host string
}

// Resolve keeps the host that the client asked.
func (in *createPortalInput) Resolve(ctx huma.Context) []error {
	in.host = ctx.Host()
	return nil
}

type portalInput struct {
	ID events.PortalID `path:"id"`
}

func (s *server) portalRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "create-portal-link", Method: http.MethodPost, Path: "/v1/portal-links", DefaultStatus: http.StatusCreated,
		Summary: "Create a link that shows webhooks to a customer",
		Description: "Whoever has the link sees these webhooks, their deliveries and what they were sent, and can retry deliveries; nothing else. " +
			"It needs no account and sets no cookies, so that it works in a frame of the named origins.",
	}, s.createPortal)
	register(s, tenants, huma.Operation{
		OperationID: "list-portal-links", Method: http.MethodGet, Path: "/v1/portal-links", Summary: "List the portal links that are valid",
	}, s.listPortals)
	register(s, tenants, huma.Operation{
		OperationID: "revoke-portal-link", Method: http.MethodDelete, Path: "/v1/portal-links/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke a portal link, with immediate effect",
	}, s.revokePortal)
}

func (s *server) createPortal(ctx context.Context, in *createPortalInput) (*body[newPortal], error) {
	me := caller(ctx)
	life, err := in.Body.ExpiresIn.duration("body.expires_in")
	if err != nil {
		return nil, err
	}
	if life == 0 {
		life = tenancy.PortalLifetime
	}
	if !me.ExpiresAt.IsZero() && time.Now().Add(life).After(me.ExpiresAt) {
		return nil, fault("body.expires_in", "must end before %s, when the key that creates the link expires", me.ExpiresAt.Format(time.RFC3339))
	}
	want := tenancy.NewPortal{
		TenantID: me.TenantID, Webhooks: make([]events.WebhookID, len(in.Body.WebhookIDs)), Origins: texts(in.Body.Origins), Theme: in.Body.Theme,
		CreatedBy: me.KeyID, Lifetime: life, AllowHTTP: s.limits.AllowHTTP,
	}
	for i, ref := range in.Body.WebhookIDs {
		want.Webhooks[i] = ref.id()
	}
	slices.SortFunc(want.Webhooks, func(a, b events.WebhookID) int { return slices.Compare(a[:], b[:]) })
	want.Webhooks = slices.Compact(want.Webhooks)
	var out newPortal
	err = s.change(ctx, func(u *unit) error {
		for _, w := range want.Webhooks {
			if _, err := s.store.In(u).Get(ctx, me.TenantID, w); err != nil {
				return err
			}
		}
		err := s.room(ctx, u, me.TenantID, "portal_links", tenancy.MaxPortalLinks, func(ctx context.Context, u *unit) (int64, error) {
			return tenancy.CountPortals(ctx, u, me.TenantID, tenancy.MaxPortalLinks)
		})
		if err != nil {
			return err
		}
		var token string
		out.Portal, token, err = tenancy.CreatePortal(ctx, u, want)
		u.became(out.Portal)
		out.URL = s.consoleURL(in.host) + portalPath + token
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}

// consoleURL is the URL of the server for browsers. Without a setting it is the host that
// was asked, by HTTPS unless that is this machine.
func (s *server) consoleURL(host string) string {
	if s.publicURL != "" {
		return strings.TrimRight(s.publicURL, "/")
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	address, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if name == "localhost" || err == nil && address.IsLoopback() {
		return "http://" + host
	}
	return "https://" + host
}

func (s *server) listPortals(ctx context.Context, in *struct{ Paging }) (*body[list[tenancy.Portal]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, more, err := tenancy.ListPortals(ctx, s.pool, tenant(ctx), position(after), in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(p tenancy.Portal) (time.Time, [16]byte) { return p.CreatedAt, p.ID }
	return boundedPage(&in.Paging, found, more, place, func(p tenancy.Portal) tenancy.Portal { return p }), nil
}

func (s *server) revokePortal(ctx context.Context, in *portalInput) (*struct{}, error) {
	err := s.change(ctx, func(u *unit) error {
		before, err := tenancy.RevokePortal(ctx, u, tenant(ctx), in.ID)
		u.was(before)
		return err
	})
	if errors.Is(err, tenancy.ErrNoPortal) {
		return nil, subscribers.ErrNotFound
	}
	return nil, err
}
