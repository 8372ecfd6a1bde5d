package fanmail

import (
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// posters POST on request, outside of any delivery. They connect nothing before the first one.
type posters struct {
	agents func() *agentwebhook.Deliverer
	signed func() *attempt.Poster
}

func newPosters(pool *pgxpool.Pool, o engine.Options) *posters {
	return &posters{
		agents: sync.OnceValue(func() *agentwebhook.Deliverer { return engine.Agents(pool, nil, o) }),
		signed: sync.OnceValue(func() *attempt.Poster {
			return attempt.NewPoster(attempt.Config{
				Timeout: subscribers.DefaultTimeout, UserAgent: "Fanmail/1 (webhooks)",
				AllowHTTP: o.AllowHTTP, AllowNetworks: o.AllowNetworks, AllowPorts: o.AllowPorts,
			})
		}),
	}
}
