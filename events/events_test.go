package events_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

var update = flag.Bool("update", false, "write the golden files again")

var tenant = must(events.Parse[events.TenantKind]("ten_000102030405060708090a0b0c0d0e0f"))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// golden compares got with a golden file. Receivers may have such bytes, so the file must never change.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func TestTheEnvelopeHasTheseBytes(t *testing.T) {
	t.Parallel()
	ev := events.Event{TenantID: tenant, Type: events.EmailReceived, IdempotencyKey: "k", Data: json.RawMessage(`{"b": 1, "a": "<é>"}`)}
	id := events.DeriveID(ev.TenantID, ev.IdempotencyKey, ev.Type)
	head, tail, err := ev.Encode(id)
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	golden(t, "envelope.json", append(append(head, at.Format(events.TimeLayout)...), tail...))
	env, err := events.DecodeEnvelope(append(append(head, at.Format(events.TimeLayout)...), tail...))
	require.NoError(t, err)
	require.Equal(t, id, env.ID)
	require.True(t, env.CreatedAt.Equal(at))
}

func TestTheCatalogueHasTheseTypes(t *testing.T) {
	t.Parallel()
	known := []events.Type{
		"email.received", "email.sent", "email.pending_approval", "email.approved", "email.rejected",
		"email.delivered", "email.bounced", "email.complained",
		"email.failed", "email.flagged", "email.blocked", "email.review_requested", "email.review_approved", "email.review_rejected",
		"domain.sending_verified", "domain.sending_failed", "domain.suppression_added", "agent.suppression_added",
		"webhook.failing", "webhook.disabled", "webhook.recovered", "delivery.exhausted",
	}
	require.Equal(t, known, events.Catalogue())
	refusal := (&events.UnknownTypeError{Type: "email.eaten"}).Error()
	for i, typ := range known {
		require.True(t, typ.Known(), typ)
		require.Equal(t, i >= len(known)-4, typ.Operational(), typ)
		require.Contains(t, refusal, string(typ))
	}
	for _, other := range []events.Type{"", "email.eaten", "Email.Received", "email"} {
		require.False(t, other.Known(), other)
	}
}

func TestDerivedIDsNeverChange(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_767_323_045_678)
	ev := events.DeriveID(tenant, "key", events.EmailReceived)
	wh := must(events.Parse[events.WebhookKind]("wh_f00102030405060708090a0b0c0d0e0f"))
	whd := events.DeriveDeliveryID(ev, wh, events.ReplayID{}, at)
	replayed := events.DeriveDeliveryID(ev, wh, must(events.Parse[events.ReplayKind]("rpl_00000000000000000000000000000001")), at)
	golden(t, "ids.txt", []byte(ev.String()+"\n"+whd.String()+"\n"+replayed.String()+"\n"))
	require.True(t, events.CreatedAt(whd).Equal(at))
	require.NotEqual(t, events.DeriveID(tenant, "key", events.EmailSent), ev)
	require.NotEqual(t, events.DeriveMessageID([]byte("ab"), []byte("c")), events.DeriveMessageID([]byte("a"), []byte("bc")))
}

func TestParseRejectsAnIDOfAnotherKind(t *testing.T) {
	t.Parallel()
	id := events.NewID()
	back, err := events.ParseID(id.String())
	require.NoError(t, err)
	require.Equal(t, id, back)
	for _, bad := range []string{"", "evt_", id.String() + "0", "wh_" + id.String()[4:], "evt_" + id.String()[5:] + "g"} {
		_, err := events.ParseID(bad)
		require.ErrorContains(t, err, "evt_ followed by 32 hex digits", bad)
	}
	var v struct{ ID events.WebhookID }
	require.Error(t, json.Unmarshal([]byte(`{"ID":"`+id.String()+`"}`), &v))
}

func TestAPartitionIsARangeOfWebhookIDs(t *testing.T) {
	t.Parallel()
	for range 1000 {
		w := events.NewRandom[events.WebhookKind]()
		p := events.Partition(w)
		first, last := events.PartitionRange(p)
		require.LessOrEqual(t, first.String(), w.String())
		require.GreaterOrEqual(t, last.String(), w.String())
	}
	_, last := events.PartitionRange(events.Partitions - 1)
	require.Equal(t, "wh_ffffffffffffffffffffffffffffffff", last.String())
}

func TestDecodeEnvelopeIsStrict(t *testing.T) {
	t.Parallel()
	good := `{"type":"email.sent","id":"evt_000102030405060708090a0b0c0d0e0f","created_at":"2026-01-02T03:04:05Z","schema_version":"1","data":{}}`
	_, err := events.DecodeEnvelope([]byte(good))
	require.NoError(t, err)
	for name, bad := range map[string]string{
		"unknown field": good[:len(good)-1] + `,"x":1}`,
		"unknown type":  `{"type":"email.eaten"` + good[20:],
		"no data":       good[:len(good)-11] + `}`,
		"two":           good + good,
		"a bracket":     good + "]",
		"not UTF-8":     good[:len(good)-2] + "\"a\":\"\xff\"}}",
		"not JSON":      "hello",
	} {
		_, err := events.DecodeEnvelope([]byte(bad))
		require.ErrorIs(t, err, events.ErrEnvelope, name)
	}
}

// What is read as an envelope is one: encoded again it is read as the same.
func FuzzDecodeEnvelope(f *testing.F) {
	good := `{"type":"email.sent","id":"evt_000102030405060708090a0b0c0d0e0f","created_at":"2026-01-02T03:04:05Z","schema_version":"1","data":{}}`
	for _, seed := range []string{good, good + "]", good + "}", " " + good + " ", good[:len(good)-1], `{"data":{"a":"\u0000"}}`, "null", "[]", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		env, err := events.DecodeEnvelope(b)
		if err != nil {
			require.ErrorIs(t, err, events.ErrEnvelope)
			require.Zero(t, env)
			return
		}
		require.True(t, json.Valid(b), "%q", b)
		require.True(t, env.Type.Known() && !env.ID.IsZero() && !env.CreatedAt.IsZero() && env.SchemaVersion != "")
		again, err := json.Marshal(env)
		require.NoError(t, err)
		same, err := events.DecodeEnvelope(again)
		require.NoError(t, err)
		require.Equal(t, env.ID, same.ID)
		require.True(t, env.CreatedAt.Equal(same.CreatedAt))
		require.JSONEq(t, string(env.Data), string(same.Data))
	})
}

func TestParseIntakeSubjectReturnsTheTenant(t *testing.T) {
	t.Parallel()
	got, err := events.ParseIntakeSubject("mail.intake." + tenant.String())
	require.NoError(t, err)
	require.Equal(t, tenant, got)
	for _, bad := range []string{"mail.intake.", "mail.events." + tenant.String(), "mail.intake.ten_x"} {
		_, err := events.ParseIntakeSubject(bad)
		require.Error(t, err, bad)
	}
}

// The limit holds for every producer: the API, the intake and Insert all encode.
func TestDataNestsABoundedDepth(t *testing.T) {
	t.Parallel()
	nested := func(open, close string, depth int) []byte {
		return []byte(`{"a":` + strings.Repeat(open, depth-1) + `1` + strings.Repeat(close, depth-1) + `}`)
	}
	for _, kind := range [][2]string{{"[", "]"}, {`{"b":`, "}"}, {`[{"c":[`, `]}]`}} {
		per := strings.Count(kind[0], "[") + strings.Count(kind[0], "{")
		for depth := range 200 {
			data := nested(kind[0], kind[1], depth+1)
			require.Equal(t, 1+per*depth, events.Depth(data))
			e := events.Event{TenantID: events.NewRandom[events.TenantKind](), Type: events.EmailSent, Data: data}
			_, _, err := e.Encode(events.NewRandom[events.EventKind]())
			if 1+per*depth <= events.MaxDepth {
				require.NoError(t, err)
				require.NoError(t, e.Validate())
				continue
			}
			require.EqualError(t, err, "data: nests deeper than 100 objects and lists")
			require.EqualError(t, e.Validate(), err.Error())
		}
	}
	require.Equal(t, 1, events.Depth([]byte(`{"[[[\\":"\"[[{{","b":"\\\\[{"}`)))
	require.Equal(t, 0, events.Depth([]byte(`"[`)))
	require.Equal(t, 0, events.Depth([]byte(`"\`)))
	body := `{"type":"email.sent","data":` + strings.Repeat(`{"a":`, 5000) + `1` + strings.Repeat("}", 5001)
	_, err := events.DecodeIntake(events.NewRandom[events.TenantKind](), []byte(body))
	require.EqualError(t, err, "data: nests deeper than 100 objects and lists")
}
