package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/alecthomas/kong"
)

// tenantsQuota shows and changes a tenant's quota.
type tenantsQuota struct {
	target
	Tenant            string   `arg:"" help:"The tenant's id." of:"tenant"`
	Clear             []string `enum:"requests_per_second, event_streams, keys, agents, webhooks, events_per_second, events_per_day, bytes_per_day, replays_per_hour, domains, changes_per_day, event_days, delivery_days, mail_days" placeholder:"LIMIT,…" help:"Limits that get the server's default again: ${enum}."`
	RequestsPerSecond *int64   `name:"requests-a-second" placeholder:"N" help:"Requests a second of all keys together, in each process of the API."`
	EventStreams      *int64   `name:"event-streams" placeholder:"N" help:"Open tails of events, in each process of the API."`
	Keys              *int64   `name:"keys" placeholder:"N" help:"Keys that are not revoked."`
	Agents            *int64   `name:"agents" placeholder:"N" help:"Agents."`
	Webhooks          *int64   `name:"webhooks" placeholder:"N" help:"Webhooks."`
	EventsPerSecond   *int64   `name:"events-a-second" placeholder:"N" help:"Events a second of requests and of mail, in each process."`
	EventsPerDay      *int64   `name:"events-a-day" placeholder:"N" help:"Events on a UTC day."`
	BytesPerDay       *int64   `name:"bytes-a-day" placeholder:"N" help:"Bytes of mails, requests and messages on a UTC day."`
	ReplaysPerHour    *int64   `name:"replays-an-hour" placeholder:"N" help:"Replays created within an hour."`
	Domains           *int64   `name:"domains" placeholder:"N" help:"Domains, verified or not."`
	ChangesPerDay     *int64   `name:"changes-a-day" placeholder:"N" help:"Requests that change something, on a UTC day; not deletions, nor what counts as events."`
	EventDays         *int64   `name:"event-days" placeholder:"N" help:"For how many days events are kept. Older ones are deleted within minutes, for good."`
	DeliveryDays      *int64   `name:"delivery-days" placeholder:"N" help:"For how many days deliveries and their attempts are kept, likewise."`
	MailDays          *int64   `name:"mail-days" placeholder:"N" help:"For how many days messages and raw mail are kept, likewise."`
}

// limits are the limits in the order in which they are printed, by their name in the API.
func (c *tenantsQuota) limits() []namedLimit {
	return []namedLimit{
		{"requests_per_second", "", c.RequestsPerSecond},
		{"event_streams", "event_streams", c.EventStreams},
		{"keys", "keys", c.Keys},
		{"agents", "agents", c.Agents},
		{"webhooks", "webhooks", c.Webhooks},
		{"events_per_second", "", c.EventsPerSecond},
		{"events_per_day", "events_today", c.EventsPerDay},
		{"bytes_per_day", "bytes_today", c.BytesPerDay},
		{"replays_per_hour", "replays_last_hour", c.ReplaysPerHour},
		{"domains", "domains", c.Domains},
		{"changes_per_day", "changes_today", c.ChangesPerDay},
		{"event_days", "", c.EventDays},
		{"delivery_days", "", c.DeliveryDays},
		{"mail_days", "", c.MailDays},
	}
}

type namedLimit struct {
	name string
	used string // the name of its use in the API's response; "": none
	flag *int64
}

// Run shows the quota, after the change if a flag is given.
func (c *tenantsQuota) Run(ctx context.Context, s *session, k *kong.Context) error {
	change := map[string]any{}
	for _, l := range c.limits() {
		if l.flag != nil {
			change[l.name] = *l.flag
		}
	}
	method, body := http.MethodGet, any(nil)
	if len(change)+len(c.Clear) > 0 {
		method, body = http.MethodPatch, change
		if err := changes(k.Selected(), change, c.Clear); err != nil {
			return err
		}
	}
	api, err := c.client(s, asOperator)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := api.Do(ctx, method, "/v1/tenants/"+url.PathEscape(c.Tenant)+"/quota", nil, body, &answer); err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(answer)
	}
	return c.print(s, answer)
}

func (c *tenantsQuota) print(s *session, answer json.RawMessage) error {
	var quota struct {
		Limits map[string]json.Number `json:"limits"`
		Used   map[string]json.Number `json:"used"`
		Set    []string               `json:"set"`
	}
	if err := json.Unmarshal(answer, &quota); err != nil {
		return fmt.Errorf("decode the quota: %w", err)
	}
	set := map[string]bool{}
	for _, name := range quota.Set {
		set[name] = true
	}
	var rows []map[string]any
	for _, l := range c.limits() {
		row := map[string]any{"limit": l.name, "used": nil, "most": quota.Limits[l.name], "by": "default"}
		if used, ok := quota.Used[l.used]; ok {
			row["used"] = used
		}
		if quota.Limits[l.name] == "0" {
			row["most"] = "no limit"
		}
		if set[l.name] {
			row["by"] = "operator"
		}
		rows = append(rows, row)
	}
	return s.printTable(rows, []column{{"LIMIT", "limit"}, {"USED", "used"}, {"MOST", "most"}, {"SET BY", "by"}})
}
