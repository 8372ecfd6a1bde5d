package mailbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/text/unicode/norm"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// everyName is the local part of an agent that takes what no other agent of its domain does.
const everyName = "*"

// Candidates returns the addresses of the agents that may take mail for an address, the most exact first: the address
// itself, the address without its tag (robot+tag@ is robot@), and *@ its domain. It is empty for a domain that no agent
// can have.
func Candidates(address string) []string {
	local, domain, ok := cutAddress(address)
	if !ok || local == "" || domain == "" {
		return nil
	}
	every, ok := fold(everyName + "@" + domain)
	if !ok {
		return nil
	}
	list := make([]string, 0, 3)
	if exact, ok := fold(address); ok {
		list = append(list, exact)
	}
	if base, _, tagged := cutTag(local); tagged {
		if plain, ok := fold(base + "@" + domain); ok {
			list = append(list, plain)
		}
	}
	if !slices.Contains(list, every) {
		list = append(list, every)
	}
	return list
}

// cutTag cuts a local part at its first "+".
func cutTag(local string) (base, tag string, ok bool) {
	base, tag, ok = strings.Cut(local, "+")
	return base, tag, ok && base != ""
}

// Recipient returns the address that an agent's mail was sent to, and its tag. The address is folded except for the
// tag, of which the case may matter; it is the agent's own if that is exact, and then has no tag.
func Recipient(agent, address string) (recipient, tag string) {
	folded, ok := fold(address)
	if ok && folded == agent {
		return agent, ""
	}
	local, domain, found := cutAddress(address)
	if !found {
		return address, ""
	}
	if base, tag, tagged := cutTag(local); tagged {
		if plain, ok := fold(base + "@" + domain); ok {
			base, domain, _ = cutAddress(plain)
			return base + "+" + norm.NFC.String(tag) + "@" + domain, tag
		}
	}
	if ok {
		return folded, ""
	}
	return address, ""
}

const findRoute = `
SELECT ` + agentColumns + `, clock_timestamp() FROM fanmail.agents AS a
WHERE address = ANY($1) AND NOT EXISTS (
	SELECT 1 FROM fanmail.released_names AS r
	WHERE r.name = ANY($1) AND array_position($1::text[], r.name) < array_position($1::text[], address)
	AND r.tenant_id <> a.tenant_id AND r.released_at > now() - make_interval(secs => $2))
ORDER BY array_position($1::text[], address) LIMIT 1`

// Postmaster is the agent that takes the mail to postmaster and abuse (RFC 5321, 4.5.1; RFC 2142) of every domain that
// receives, where no agent of the domain does. Its zero value is none.
type Postmaster struct {
	Agent string // folded
	Host  string // the server's own domain, which receives
}

// HasRole reports whether an address is one of those that a [Postmaster] takes mail for.
func HasRole(address string) bool {
	local, _, ok := cutAddress(Fold(address))
	return ok && (local == "postmaster" || local == "abuse")
}

const findPostmaster = `
SELECT ` + agentColumns + `, clock_timestamp() FROM fanmail.agents
WHERE address = $1 AND ($2
	OR EXISTS (SELECT 1 FROM fanmail.domains WHERE name = ANY($3) AND verified_at IS NOT NULL)
	OR EXISTS (SELECT 1 FROM fanmail.agents WHERE domain = $4))`

// FindPostmaster returns the postmaster's agent for an address of a role, and the database's time. It returns
// [pgx.ErrNoRows] for other addresses, for domains that do not receive, and if there is no such agent.
func FindPostmaster(ctx context.Context, db pg.DB, address string, p Postmaster) (a Agent, now time.Time, err error) {
	_, domain, _ := cutAddress(Fold(address))
	if p.Agent == "" || !HasRole(address) {
		return a, now, fmt.Errorf("look up the postmaster: %w", pgx.ErrNoRows)
	}
	own := strings.EqualFold(domain, p.Host)
	err = db.QueryRow(ctx, findPostmaster, Fold(p.Agent), own, append(above(domain), EveryDomain), domain).
		Scan(append(a.columns(), &now)...)
	if err != nil {
		return a, now, fmt.Errorf("look up the postmaster: %w", err)
	}
	return a, now, nil
}

// FindRoute returns the agent that takes mail for an address, and the database's time: the first of [Candidates] that
// exists. An agent takes no mail for a more exact address that another tenant released less than [Quarantine] ago. It
// returns [pgx.ErrNoRows] if no agent takes it.
func FindRoute(ctx context.Context, db pg.DB, address string) (a Agent, now time.Time, err error) {
	candidates := Candidates(address)
	if len(candidates) == 0 {
		return a, now, fmt.Errorf("look up a recipient: %w", pgx.ErrNoRows)
	}
	err = db.QueryRow(ctx, findRoute, candidates, Quarantine.Seconds()).Scan(append(a.columns(), &now)...)
	if err != nil {
		return a, now, fmt.Errorf("look up a recipient: %w", err)
	}
	return a, now, nil
}
