package api_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
)

// TestOperatorsSeeTheWholeSystemAndTenantsDoNot: without a broker, what the database knows.
func TestOperatorsSeeTheWholeSystemAndTenantsDoNot(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.webhook()
	for _, path := range []string{"/v1/operator/stats", "/v1/operator/top", "/v1/operator/doctor"} {
		c.do("GET", path, nil).want(t, 403)
	}
	got := w.operator.do("GET", "/v1/operator/stats", nil).want(t, 200)
	require.Equal(t, false, got.json["complete"])
	require.Len(t, got.json["partitions"], 32)
	require.Contains(t, string(got.raw), "FanmailPartitionsUnowned")
	for _, query := range []string{"", "?by=webhook&order=backlog&window=5m&limit=100", "?by=agent&order=slots"} {
		got = w.operator.do("GET", "/v1/operator/top"+query, nil).want(t, 200)
		require.Equal(t, []any{}, got.json["data"])
	}
	w.operator.do("GET", "/v1/operator/top?by=planet", nil).want(t, 422).names(t, "query.by")
	w.operator.do("GET", "/v1/operator/top?limit=101", nil).want(t, 422).names(t, "query.limit")
	w.operator.do("GET", "/v1/operator/doctor", nil).want(t, 503)
}

// TestOneDiagnosisServesAllWhoAsk also if the one who began it goes away.
func TestOneDiagnosisServesAllWhoAsk(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	begun, release := make(chan struct{}), make(chan struct{})
	w := start(t, func(o *api.Options) {
		o.Doctor = func(ctx context.Context) []api.Finding {
			runs.Add(1)
			close(begun)
			<-release
			if ctx.Err() != nil {
				return nil
			}
			return []api.Finding{{Check: "clock", Status: "ok", Detail: "agrees"}, {Check: "broker", Status: "fail", Detail: "is away", Fix: "start it"}}
		}
	})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			got := w.operator.do("GET", "/v1/operator/doctor", nil).want(t, 200)
			require.Equal(t, false, got.json["ok"])
			require.Len(t, got.json["findings"], 2)
		})
	}
	<-begun
	close(release)
	all.Wait()
	require.EqualValues(t, 1, runs.Load())
}

func TestTenantsAreFoundByNameAndReadById(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, b := w.tenant(), w.tenant()
	other := w.operator.do("POST", "/v1/tenants", map[string]any{"name": `<b>Other & "co"`}).want(t, 201).text("id")
	require.Equal(t, []string{other}, w.operator.do("GET", "/v1/tenants?name=%3CB%3Eo", nil).want(t, 200).ids(t, "id"))
	first := w.operator.do("GET", "/v1/tenants?name=testtenants&limit=1", nil).want(t, 200)
	second := w.operator.do("GET", "/v1/tenants?name=testtenants&limit=1&cursor="+first.text("next_cursor"), nil).want(t, 200)
	require.ElementsMatch(t, []string{a.tenantID, b.tenantID}, append(first.ids(t, "id"), second.ids(t, "id")...))
	require.Nil(t, second.json["next_cursor"])
	require.Equal(t, other, w.operator.do("GET", "/v1/tenants/"+other, nil).want(t, 200).text("id"))
	a.do("GET", "/v1/tenants/"+a.tenantID, nil).want(t, 200)
	a.do("GET", "/v1/tenants/"+other, nil).want(t, 404)
	w.operator.do("GET", "/v1/tenants?name=%00", nil).want(t, 422).names(t, "query.name")
}
