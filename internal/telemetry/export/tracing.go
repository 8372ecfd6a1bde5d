package export

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// scope names the instrumentation in every span.
const scope = "github.com/fanmail-dev/fanmail"

// flushTime is what the last export may take when a process ends. It must fit
// between the drain's end and the moment at which Kubernetes kills.
const flushTime = time.Second

// Tracing makes a process's spans and exports them. nil makes none.
type Tracing struct {
	provider *sdktrace.TracerProvider
}

// Start begins to export traces where the environment, read by env, names an endpoint
// (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) and does
// not turn them off (OTEL_SDK_DISABLED=true, OTEL_TRACES_EXPORTER=none); else it
// gives nil. The other OTEL_* variables of the SDK hold as well: protocol,
// headers, certificates, sampler, batch sizes, resource. An error names the
// variable. It does not wait for the endpoint.
func Start(ctx context.Context, process, version string, env func(string) string, log *zap.Logger) (*Tracing, error) {
	on, protocol, err := wanted(env)
	if err != nil || !on {
		return nil, err
	}
	var exporter sdktrace.SpanExporter
	if protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("make the exporter of traces from OTEL_EXPORTER_OTLP_*: %w", err)
	}
	host, _ := os.Hostname()
	// The environment comes last: it may name the service as it likes.
	res, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.namespace", "fanmail"),
		attribute.String("service.name", "fanmail-"+process),
		attribute.String("service.version", version),
		attribute.String("service.instance.id", host+"-"+strconv.Itoa(os.Getpid())),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	log = log.Named("telemetry")
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", zap.Error(err)) }))
	log.Info("exporting traces", zap.String("protocol", protocol))
	return &Tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))}, nil
}

// wanted reads whether and over which protocol traces are to be exported.
func wanted(env func(string) string) (on bool, protocol string, err error) {
	first := func(names ...string) (name, value string) {
		for _, n := range names {
			if v := strings.TrimSpace(env(n)); v != "" {
				return n, v
			}
		}
		return "", ""
	}
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, "", nil
	}
	if _, endpoint := first("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"); endpoint == "" {
		return false, "", nil
	}
	if err := checkSecrets(env); err != nil {
		return false, "", err
	}
	switch exporter := env("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return false, "", nil
	default:
		return false, "", fmt.Errorf("OTEL_TRACES_EXPORTER is %q; it must be otlp or none", exporter)
	}
	name, protocol := first("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	switch protocol {
	case "":
		return true, "http/protobuf", nil
	case "grpc", "http/protobuf":
		return true, protocol, nil
	}
	return false, "", fmt.Errorf("%s is %q; it must be grpc or http/protobuf", name, protocol)
}

// Tracer gives what spans are made with; nil where t is.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(scope)
}

// Queries has a connection's queries appear as spans, with their text and
// without their arguments, where they are part of a sampled trace.
func (t *Tracing) Queries(c *pgx.ConnConfig) {
	if t != nil {
		c.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(t.provider), otelpgx.WithDisableConnectionDetailsInAttributes())
	}
}

// Requests has each request to h begin a trace. A trace of the caller's is
// linked to and not joined: callers are strangers, and must not choose what is
// sampled.
func (t *Tracing) Requests(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return otelhttp.NewHandler(h, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/healthz" && r.URL.Path != "/readyz" }))
}

// Stop exports what is left, within 1 s, and no more after that.
func (t *Tracing) Stop() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), flushTime, errors.New("the endpoint of OTEL_EXPORTER_OTLP_ENDPOINT took over 1 s"))
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("export the last traces: %w", err)
	}
	return nil
}
