package app

import (
	"time"
)

// AgentWebhooks configures the deliveries to the agents' own webhooks.
type AgentWebhooks struct {
	AgentSlots int       `name:"agent-slots" env:"FANMAIL_AGENT_SLOTS" default:"64" help:"Most POSTs in flight to the agents' own webhooks that answer within a second; slower ones have four times as many besides."`
	Deprecated time.Time `name:"agent-webhooks-deprecated" env:"FANMAIL_AGENT_WEBHOOKS_DEPRECATED" format:"2006-01-02" placeholder:"DATE" help:"Date since which the agents' own webhooks are deprecated, such as 2026-12-01; POSTs to them then have the header Deprecation."`
	Sunset     time.Time `name:"agent-webhooks-sunset" env:"FANMAIL_AGENT_WEBHOOKS_SUNSET" format:"2006-01-02" placeholder:"DATE" help:"Date at which the agents' own webhooks end; POSTs to them then have the header Sunset."`
}

func (c *AgentWebhooks) validate() error {
	if c.AgentSlots < 0 {
		return wrong("--agent-slots", "FANMAIL_AGENT_SLOTS", "must not be negative")
	}
	if !c.Sunset.IsZero() && c.Sunset.Before(c.Deprecated) {
		return wrong("--agent-webhooks-sunset", "FANMAIL_AGENT_WEBHOOKS_SUNSET", "must not come before --agent-webhooks-deprecated")
	}
	return nil
}
