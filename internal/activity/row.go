package activity

import (
	"cmp"
	"slices"
)

// The values of Request.By.
const (
	ByTenant  = "tenant"
	ByWebhook = "webhook"
	ByAgent   = "agent"
)

// The values of Request.Order.
const (
	OrderRate     = "rate"     // events or attempts a second, whichever are more
	OrderFailures = "failures" // failed attempts a second
	OrderBacklog  = "backlog"  // pending deliveries in the tables
	OrderSlots    = "slots"    // attempts in flight
	OrderBytes    = "bytes"    // bytes a second
)

// Row is one line of a table. Rates are means over the request's window.
type Row struct {
	// Name is the webhook's id, the tenant's id or the agent's address.
	Name string `json:"name"`
	// Tenant is the tenant's id.
	Tenant string `json:"tenant"`
	Rates
	// InFlight counts the attempts that are in flight.
	InFlight int `json:"in_flight"`
}

// weight is what rows are sorted by, greatest first.
func (r *Row) weight(order string) float64 {
	switch order {
	case OrderFailures:
		return r.Failures
	case OrderSlots:
		return float64(r.InFlight)
	case OrderBytes:
		return r.Bytes
	}
	return max(r.Events, r.Attempts)
}

// SortRows sorts by an order, greatest first; equal rows by their names.
func SortRows(rows []Row, order string) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.weight(order), a.weight(order)), cmp.Compare(b.Events+b.Attempts, a.Events+a.Attempts), cmp.Compare(a.Name, b.Name))
	})
}
