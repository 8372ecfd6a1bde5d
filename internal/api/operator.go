package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/internal/operator"
)

type topInput struct {
	By     string `query:"by" enum:"tenant,webhook,agent" default:"tenant" doc:"What a row is."`
	Order  string `query:"order" enum:"rate,failures,backlog,slots,bytes" default:"rate" doc:"rate: events or attempts a second, whichever are more. slots: attempts in flight."`
	Window string `query:"window" enum:"1m,5m" default:"1m" doc:"The time over which rates are means."`
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"The maximum number of rows."`
}

func (s *server) operatorRoutes() {
	register(s, operators, huma.Operation{
		OperationID: "get-operator-stats", Method: http.MethodGet, Path: "/v1/operator/stats", Summary: "Read the state of the whole system",
		Description: "Rates, latency, the outbox, the backlog, partitions with their owners, processes, open circuit breakers, the broker's streams, the database, and the conditions of the alerts that hold now. " +
			"All dispatchers are asked, which takes at most two seconds; without the broker the answer has what the database knows. At most a second old.",
	}, func(ctx context.Context, _ *struct{}) (*body[operator.SystemStats], error) {
		out, err := s.view.Stats(ctx)
		if err != nil {
			return nil, err
		}
		return reply(*out), nil
	})
	register(s, operators, huma.Operation{
		OperationID: "get-operator-top", Method: http.MethodGet, Path: "/v1/operator/top", Summary: "Read which tenants, webhooks or agents are most active",
		Description: "By events and attempts, failures, backlog, slots in use or bytes. At most a second old; `order=backlog` at most five.",
	}, func(ctx context.Context, in *topInput) (*body[operator.Top], error) {
		out, err := s.view.Top(ctx, operator.Query{By: in.By, Order: in.Order, Window: in.Window, Limit: in.Limit})
		if err != nil {
			return nil, err
		}
		return reply(*out), nil
	})
	register(s, operators, huma.Operation{
		OperationID: "get-operator-doctor", Method: http.MethodGet, Path: "/v1/operator/doctor", Summary: "Check database, schema, broker, streams and clocks",
		Description: "What `fanmail doctor` says, as the API's process sees it, with what to do. It takes up to 30 seconds; one run serves all callers of ten seconds.",
	}, func(ctx context.Context, _ *struct{}) (*body[diagnosis], error) {
		if s.doctor.check == nil {
			return nil, problem(http.StatusServiceUnavailable, "this process makes no checks; run `fanmail doctor`")
		}
		return reply(*s.doctor.diagnose(ctx)), nil
	})
}
