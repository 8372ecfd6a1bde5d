package importe2a

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
)

const (
	rowAgentEnded   = "ended deliveries to agents' own webhooks"
	rowAgentPending = "pending deliveries to agents' own webhooks"
)

// importAgentDeliveries imports the deliveries to the agents' own webhooks, which later releases of e2a don't have.
func (p *pass) importAgentDeliveries(ctx context.Context) error {
	const t, m = agentDeliveries, "messages"
	if !p.src.has[t+".message_id"] {
		return nil
	}
	expires := p.src.col(m, "m", "expires_at", "timestamptz")
	tables := ` FROM ` + p.src.from(t, "d") + ` JOIN ` + p.src.from(m, "m") + ` ON m.id = d.message_id`
	where := ` WHERE d.created_at >= ` + literal(p.from(stepAgentDeliveries)) + ` AND m.created_at >= ` + literal(p.since) + ` AND m.direction = 'inbound' AND (` + expires + ` IS NULL OR ` + expires + ` > now())`
	total, err := p.count(ctx, `SELECT 1`+tables+where)
	if err != nil {
		return err
	}
	for kind, status := range map[string]string{rowAgentPending: "= 'pending'", rowAgentEnded: "<> 'pending'"} {
		if err := p.undated(ctx, kind, t, ` FROM `+p.src.from(t, "d")+` WHERE d.status `+status); err != nil {
			return err
		}
	}
	at := &position{step: stepAgentDeliveries}
	done := int64(0)
	query := `SELECT m.id::text, m.agent_id::text, m.created_at, e.id, e.created_at, d.status::text, d.attempts::integer, d.max_attempts::integer, ` + p.src.text(t, "d", "last_error") + `, ` +
		p.src.col(t, "d", "last_attempt_at", "timestamptz") + `, d.next_retry_at, d.expires_at, d.created_at` + tables + p.receivedEvents() + where + ` ORDER BY d.created_at, d.message_id`
	return each(ctx, p.tx, t, query, pageRows, scanAgentDelivery, func(list []agentDelivery) error {
		var ended, pending []agentwebhook.Imported
		for i := range list {
			d := &list[i]
			at.row(d.createdAt, d.Status != "pending")
			out, ok := p.agentDelivery(d)
			switch {
			case !ok:
			case d.Status == "pending":
				pending = append(pending, out)
			default:
				ended = append(ended, out)
			}
		}
		if err := p.writeAgentDeliveries(ctx, at, ended, pending); err != nil {
			return err
		}
		done += int64(len(list))
		p.progress("deliveries to agents", done, total)
		return nil
	})
}

// agentDelivery is a row of e2a's webhook_deliveries with its message.
type agentDelivery struct {
	agentwebhook.Imported
	message, agent       string
	messageAt, createdAt time.Time
	event                *string
	eventAt              *time.Time
}

func scanAgentDelivery(r pgx.CollectableRow) (d agentDelivery, err error) {
	err = r.Scan(&d.message, &d.agent, &d.messageAt, &d.event, &d.eventAt, &d.Status, &d.Attempts, &d.MaxAttempts, &d.LastError, &d.LastAttempt, &d.NextRetry, &d.ExpiresAt, &d.createdAt)
	return d, err
}

// agentDelivery returns what a row becomes; false if it is left out or left to e2a.
func (p *pass) agentDelivery(d *agentDelivery) (out agentwebhook.Imported, ok bool) {
	count := p.report.row(rowAgentEnded)
	if d.Status == "pending" {
		count = p.report.row(rowAgentPending)
	}
	count.There++
	agent, known := p.accounts.agentOf[d.agent]
	switch {
	case !known:
		count.Out++
		p.report.note("%d deliveries to agents' own webhooks are left out: their agents are")
		return out, false
	case d.Status == "pending" && p.o.Follow:
		count.Left++
		return out, false
	}
	out = d.Imported
	out.MessageID, out.TenantID, out.AgentID = keyOf[events.MessageKind](d.message), agent.TenantID, agent.Address
	_, out.CreatedAt, _ = p.place(d.message, d.messageAt, d.event, d.eventAt)
	out.MaxAttempts = bounded(out.MaxAttempts)
	return out, true
}

func (p *pass) writeAgentDeliveries(ctx context.Context, at *position, ended, pending []agentwebhook.Imported) error {
	for _, list := range []struct {
		count *Row
		rows  []agentwebhook.Imported
	}{{p.report.row(rowAgentEnded), ended}, {p.report.row(rowAgentPending), pending}} {
		if p.check {
			ids, created := make([]events.MessageID, len(list.rows)), make([]time.Time, len(list.rows))
			for i := range list.rows {
				ids[i], created[i] = list.rows[i].MessageID, list.rows[i].CreatedAt
			}
			states, err := agentwebhook.CountStates(ctx, p.o.Pool, ids, created)
			if err != nil {
				return err
			}
			for _, n := range states {
				list.count.Here += n
			}
			continue
		}
		err := p.page(ctx, at, func(tx pgx.Tx) error {
			changed, err := agentwebhook.Import(ctx, tx, list.rows)
			list.count.Added += int64(changed)
			list.count.Here += int64(len(list.rows))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
