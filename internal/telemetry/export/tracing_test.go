package export

import (
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func TestTheEnvironmentConfiguresTracing(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for name, tc := range map[string]struct {
		env      map[string]string
		on       bool
		protocol string
		fault    string
	}{
		"nothing set":      {},
		"an endpoint":      {env: map[string]string{endpoint: "http://c:4318"}, on: true, protocol: "http/protobuf"},
		"traces endpoint":  {env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, on: true, protocol: "http/protobuf"},
		"grpc":             {env: map[string]string{endpoint: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, on: true, protocol: "grpc"},
		"grpc for traces":  {env: map[string]string{endpoint: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, on: true, protocol: "grpc"},
		"turned off":       {env: map[string]string{endpoint: "http://c:4317", "OTEL_SDK_DISABLED": "TRUE"}},
		"no exporter":      {env: map[string]string{endpoint: "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}},
		"foreign exporter": {env: map[string]string{endpoint: "http://c:4317", "OTEL_TRACES_EXPORTER": "zipkin"}, fault: `OTEL_TRACES_EXPORTER is "zipkin"; it must be otlp or none`},
		"foreign protocol": {env: map[string]string{endpoint: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, fault: `OTEL_EXPORTER_OTLP_PROTOCOL is "http/json"; it must be grpc or http/protobuf`},
		"exporter alone":   {env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}},
	} {
		on, protocol, err := settings(func(n string) string { return tc.env[n] })
		if tc.fault != "" {
			require.EqualError(t, err, tc.fault, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, tc.on, on, name)
		require.Equal(t, tc.protocol, protocol, name)
	}
}

func TestANilTracingChangesNothing(t *testing.T) {
	t.Parallel()
	var none *Tracing
	require.Nil(t, none.Tracer())
	c := &pgx.ConnConfig{}
	none.Queries(c)
	require.Nil(t, c.Tracer)
	h := http.NewServeMux()
	require.Same(t, h, none.Requests(h))
	require.NoError(t, none.Stop())
}
