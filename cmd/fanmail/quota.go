package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// tenantsQuota shows and changes a tenant's quota.
type tenantsQuota struct {
	target
	Tenant            string `arg:"" help:"The tenant's id."`
	RequestsPerSecond limit  `name:"requests-a-second" placeholder:"N" help:"Requests a second of all keys together, in each process of the API."`
	EventStreams      limit  `name:"event-streams" placeholder:"N" help:"Open tails of events, in each process of the API."`
	Keys              limit  `name:"keys" placeholder:"N" help:"Keys that are not revoked."`
	Agents            limit  `name:"agents" placeholder:"N" help:"Agents."`
	Webhooks          limit  `name:"webhooks" placeholder:"N" help:"Webhooks."`
	EventsPerSecond   limit  `name:"events-a-second" placeholder:"N" help:"Events a second of requests and of mail, in each process."`
	EventsPerDay      limit  `name:"events-a-day" placeholder:"N" help:"Events on a UTC day. 'default' stands for the server's default, here and for the other limits."`
	BytesPerDay       limit  `name:"bytes-a-day" placeholder:"N" help:"Bytes of mails, requests and messages on a UTC day."`
	ReplaysPerHour    limit  `name:"replays-an-hour" placeholder:"N" help:"Replays created within an hour."`
	Domains           limit  `name:"domains" placeholder:"N" help:"Domains, verified or not."`
	ChangesPerDay     limit  `name:"changes-a-day" placeholder:"N" help:"Keys, agents, webhooks and domains created on a UTC day."`
}

// limit is the value of a flag: a whole number from 1, "default", or nothing.
type limit struct {
	given bool
	value *int64 // nil: the server's default
}

// UnmarshalText decodes the value of a flag.
func (l *limit) UnmarshalText(text []byte) error {
	l.given, l.value = true, nil
	if string(text) == "default" {
		return nil
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a limit; it must be a whole number from 1, or default", text)
	}
	l.value = &n
	return nil
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
	}
}

type namedLimit struct {
	name string
	used string // the name of its use in the API's response; "": none
	flag limit
}

// Run shows the quota, after the change if a flag is given.
func (c *tenantsQuota) Run(ctx context.Context, s *session) error {
	change := map[string]any{}
	for _, l := range c.limits() {
		if l.flag.given {
			change[l.name] = l.flag.value
		}
	}
	method, body := http.MethodGet, any(nil)
	if len(change) > 0 {
		method, body = http.MethodPatch, change
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
