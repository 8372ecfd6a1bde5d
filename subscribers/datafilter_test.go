package subscribers_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestAFilterOnDataIsStoredInItsNormalFormAndRead(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newTenantStore(t)
	logs, logged := observer.New(zap.ErrorLevel)
	r := subscribers.NewRegistry(s.pool, nil, zap.New(logs))
	on := func(data string) *subscribers.Filters { return &subscribers.Filters{Data: []byte(data)} }
	made, _, err := s.Create(ctx, s.tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{subscribers.EveryType}, Enabled: true,
		Filters: *on(`{ "n": {"lt": 90071992547409930, "gte": 9007199254740993}, "a": "<x>" }`),
	})
	require.NoError(t, err)
	plain := s.webhook(t)
	normal := `{"a":"<x>","n":{"gte":9007199254740993,"lt":90071992547409930}}`
	require.Equal(t, normal, string(made.Filters.Data))
	stored, err := s.Get(ctx, s.tenant, made.ID)
	require.NoError(t, err)
	require.Equal(t, normal, string(stored.Filters.Data))
	list, err := s.List(ctx, s.tenant, subscribers.Place{}, 10)
	require.NoError(t, err)
	require.Equal(t, normal, string(list[1].Filters.Data))
	require.Nil(t, list[0].Filters.Data)

	ev := events.Record{TenantID: s.tenant, Type: events.EmailReceived}
	matched := func(data string) (ids []events.WebhookID) {
		require.NoError(t, r.Load(ctx))
		envelope := []byte(`{"type":"email.received","data":` + data + `}`)
		for _, e := range r.Match(nil, &ev, envelope) {
			ids = append(ids, e.ID)
		}
		takers, err := s.Takers(ctx, s.tenant, events.WebhookID{})
		require.NoError(t, err)
		var taken []events.WebhookID
		for _, e := range takers.Match(nil, &ev, envelope) {
			taken = append(taken, e.ID)
		}
		require.ElementsMatch(t, ids, taken)
		return ids
	}
	both, one := []events.WebhookID{made.ID, plain.ID}, []events.WebhookID{plain.ID}
	require.ElementsMatch(t, both, matched(`{"a":"<x>","n":9007199254740993}`))
	require.ElementsMatch(t, one, matched(`{"a":"<x>","n":9007199254740992}`))
	require.ElementsMatch(t, one, matched(`{}`))

	// Another change leaves the filter alone; a change of it is seen; without it all events match.
	off, again := false, true
	for _, enabled := range []*bool{&off, &again} {
		got, err := s.Update(ctx, s.tenant, made.ID, subscribers.Patch{Enabled: enabled})
		require.NoError(t, err)
		require.Equal(t, normal, string(got.Filters.Data))
	}
	require.ElementsMatch(t, one, matched(`{}`))
	_, err = s.Update(ctx, s.tenant, made.ID, subscribers.Patch{Filters: on(`{"b": {"exists": false}}`)})
	require.NoError(t, err)
	require.ElementsMatch(t, both, matched(`{}`))
	require.ElementsMatch(t, one, matched(`{"b":1}`))
	cleared, err := s.Update(ctx, s.tenant, made.ID, subscribers.Patch{Filters: on(` {} `)})
	require.NoError(t, err)
	require.Nil(t, cleared.Filters.Data)
	require.ElementsMatch(t, both, matched(`{"b":1}`))

	// A filter that can't be read lets no event pass, and the log names the webhook. The others go on.
	require.Zero(t, logged.Len())
	s.exec(t, `UPDATE fanmail.webhooks SET filter_data = '{"b": {"like": 1}}' WHERE id = $1`, made.ID)
	require.ElementsMatch(t, one, matched(`{"b":1}`))
	require.Equal(t, made.ID.String(), logged.All()[0].ContextMap()["webhook"])

	require.NoError(t, s.Delete(ctx, s.tenant, made.ID))
	var left int
	require.NoError(t, s.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE filter_data IS NOT NULL`).Scan(&left))
	require.Zero(t, left, "a deleted webhook keeps no filter")
}

// An event's data is read if a webhook asks for the event otherwise, and not for any other.
func TestDataIsReadOnlyWhereAFilterOnItDecides(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newTenantStore(t)
	s.webhook(t)
	takers := func() *subscribers.Takers {
		t.Helper()
		list, err := s.Takers(ctx, s.tenant, events.WebhookID{})
		require.NoError(t, err)
		return list
	}
	received, sent := &events.Record{TenantID: s.tenant, Type: events.EmailReceived}, &events.Record{TenantID: s.tenant, Type: events.EmailSent, Labels: []string{"vip"}}
	without := takers()
	require.False(t, without.NeedEnvelope(received))
	require.Len(t, without.Match(nil, received, nil), 1)
	_, _, err := s.Create(ctx, s.tenant, subscribers.Webhook{
		URL: "https://hooks.example.com/", Events: []events.Type{events.EmailSent}, Enabled: true, Filters: subscribers.Filters{Labels: []string{"vip"}, Data: []byte(`{"n": 1}`)},
	})
	require.NoError(t, err)
	with := takers()
	require.False(t, with.NeedEnvelope(received), "the webhook does not ask for the type")
	require.Len(t, with.Match(nil, received, nil), 1)
	require.True(t, with.NeedEnvelope(sent))
	require.False(t, with.NeedEnvelope(&events.Record{TenantID: s.tenant, Type: events.EmailSent}), "nor for an event without the label")
	require.Len(t, with.Match(nil, sent, []byte(`{"data":{"n":1}}`)), 1)
	require.Empty(t, with.Match(nil, sent, []byte(`{"data":{"n":2}}`)))
	var none *subscribers.Takers
	require.False(t, none.NeedEnvelope(sent))
	require.Empty(t, none.Match(nil, sent, nil))
}
