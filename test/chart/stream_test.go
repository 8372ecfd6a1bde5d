package chart_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// TestNACKMakesTheStreamsOfTheCode compares NACK's resources with internal/stream.
func TestNACKMakesTheStreamsOfTheCode(t *testing.T) {
	t.Parallel()
	type spec struct {
		Name, Retention, Storage, Discard, MaxAge, DuplicateWindow string
		Subjects                                                   []string
		MaxBytes                                                   int64
		Replicas                                                   int
		AllowDirect, PreventDelete                                 bool

		StreamName, DurableName, DeliverPolicy, AckPolicy, AckWait, FilterSubject string
		MaxDeliver, MaxAckPending                                                 int
		MemStorage                                                                bool
	}
	intakeTenant, err := events.Parse[events.TenantKind]("ten_" + strings.Repeat("0a", 16))
	require.NoError(t, err)
	streams, consumers := map[string]spec{}, map[string]spec{}
	for _, o := range render(t, "--values", chartDir+"/ci/large-values.yaml") {
		var v struct{ Spec spec }
		switch o.Kind {
		case "Stream":
			require.NoError(t, yaml.Unmarshal(o.raw, &v))
			streams[v.Spec.Name] = v.Spec
		case "Consumer":
			require.NoError(t, yaml.Unmarshal(o.raw, &v))
			consumers[v.Spec.StreamName+"/"+v.Spec.DurableName] = v.Spec
		}
	}
	text := func(v any) string {
		b, err := yaml.Marshal(v)
		require.NoError(t, err)
		return string(b[:len(b)-1])
	}
	duration := func(s string) time.Duration {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		return d
	}
	want := stream.Configs(stream.Options{Replicas: 3, EventsMaxBytes: 100 << 30, IntakeTenants: []events.TenantID{intakeTenant}})
	want = append(want, stream.ObjectsConfig(3))
	require.Len(t, streams, len(want))
	for _, w := range want {
		got := streams[w.Name]
		require.Equal(t, w.Subjects, got.Subjects, w.Name)
		require.Equal(t, text(w.Retention), got.Retention, w.Name)
		require.Equal(t, text(w.Storage), got.Storage, w.Name)
		require.Equal(t, text(w.Discard), got.Discard, w.Name)
		require.Equal(t, w.MaxAge, duration(got.MaxAge), w.Name)
		switch {
		case w.Name == stream.Raw, w.Name == stream.RawObjectsStream: // the bounds in an account without limits
			w.MaxBytes = 8 << 30
		case w.Name == stream.OwnIntakeName(intakeTenant):
			w.MaxBytes = 64 << 20
		case w.Name == stream.Intake:
			w.MaxBytes = 1 << 30
		case w.MaxBytes == 0:
			w.MaxBytes = -1 // both mean no limit
		}
		require.Equal(t, w.MaxBytes, got.MaxBytes, w.Name)
		require.Equal(t, w.Replicas, got.Replicas, w.Name)
		require.Equal(t, w.AllowDirect, got.AllowDirect, w.Name)
		if w.Duplicates > 0 {
			require.Equal(t, w.Duplicates, duration(got.DuplicateWindow), w.Name)
		}
		require.True(t, got.PreventDelete, "uninstalling the chart must not lose what waits in %s", w.Name)
	}
	durable := map[string]jetstream.ConsumerConfig{
		stream.Events + "/" + stream.Fanout: stream.FanoutConsumer(), stream.Intake + "/" + stream.IntakeConsumer: stream.IntakeConsumerConfig(),
		stream.OwnIntakeName(intakeTenant) + "/" + stream.IntakeConsumer: stream.IntakeConsumerConfig(),
		stream.Raw + "/" + stream.RawConsumer:                            stream.RawConsumerConfig(),
	}
	for p := range events.Partitions {
		durable[stream.Deliveries+"/"+stream.PartitionConsumerName(p)] = stream.PartitionConsumer(p)
	}
	require.Len(t, consumers, len(durable))
	for name, w := range durable {
		got := consumers[name]
		require.Equal(t, text(w.AckPolicy), got.AckPolicy, name)
		require.Equal(t, text(w.DeliverPolicy), got.DeliverPolicy, name)
		require.Equal(t, w.AckWait, duration(got.AckWait), name)
		require.Equal(t, w.MaxDeliver, got.MaxDeliver, name)
		require.Equal(t, w.MaxAckPending, got.MaxAckPending, name)
		require.Equal(t, w.FilterSubject, got.FilterSubject, name)
		require.Equal(t, w.MemoryStorage, got.MemStorage, name)
	}
}

// TestKEDALooksAtTheConsumerThatThereIs compares the trigger with internal/stream.
func TestKEDALooksAtTheConsumerThatThereIs(t *testing.T) {
	t.Parallel()
	for _, o := range render(t, "--values", chartDir+"/ci/large-values.yaml") {
		if o.Kind != "ScaledObject" {
			continue
		}
		var v struct {
			Spec struct {
				MaxReplicaCount int
				Triggers        []struct {
					Type     string
					Metadata map[string]string
				}
			}
		}
		require.NoError(t, yaml.Unmarshal(o.raw, &v))
		require.LessOrEqual(t, v.Spec.MaxReplicaCount, events.Partitions)
		require.Equal(t, "nats-jetstream", v.Spec.Triggers[0].Type)
		require.Equal(t, stream.Events, v.Spec.Triggers[0].Metadata["stream"])
		require.Equal(t, stream.Fanout, v.Spec.Triggers[0].Metadata["consumer"])
		require.Equal(t, "postgresql", v.Spec.Triggers[1].Type)
		require.Equal(t, "prometheus", v.Spec.Triggers[2].Type)
		documented, err := os.ReadFile("../../docs/reference/metrics.md")
		require.NoError(t, err)
		asked := regexp.MustCompile(`fanmail_\w+`).FindString(v.Spec.Triggers[2].Metadata["query"])
		require.Contains(t, string(documented), "| `"+asked+"` |")
		return
	}
	require.Fail(t, "no ScaledObject")
}
