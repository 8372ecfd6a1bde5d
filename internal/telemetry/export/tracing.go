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

// scope is the name of the instrumentation scope of every span.
const scope = "github.com/fanmail-dev/fanmail"

// flushTime limits the last export when a process stops. It must fit between the end of
// the drain and the SIGKILL of Kubernetes.
const flushTime = time.Second

// Tracing creates and exports the spans of a process. A nil Tracing creates none.
type Tracing struct {
	provider *sdktrace.TracerProvider
}

// Start starts the export of traces if a variable names an endpoint
// (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) and none disables it
// (OTEL_SDK_DISABLED=true, OTEL_TRACES_EXPORTER=none). Otherwise it returns nil. It does not
// wait for the endpoint.
//
// env reads a variable. The SDK reads its other OTEL_* variables itself: protocol, headers,
// certificates, sampler, batch sizes, resource. An error names the variable.
func Start(ctx context.Context, process, version string, env func(string) string, log *zap.Logger) (*Tracing, error) {
	on, protocol, err := settings(env)
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
		return nil, fmt.Errorf("create the exporter of traces from the variables OTEL_EXPORTER_OTLP_*: %w", err)
	}
	host, _ := os.Hostname()
	// The environment comes last, so that OTEL_RESOURCE_ATTRIBUTES can replace these attributes.
	res, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.namespace", "fanmail"),
		attribute.String("service.name", "fanmail-"+process),
		attribute.String("service.version", version),
		attribute.String("service.instance.id", host+"-"+strconv.Itoa(os.Getpid())),
	), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	log = log.Named("telemetry")
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("exporting traces failed", zap.Error(err)) }))
	log.Info("exporting traces", zap.String("protocol", protocol))
	return &Tracing{sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))}, nil
}

// settings reads whether to export traces, and the protocol: "grpc" or "http/protobuf".
func settings(env func(string) string) (on bool, protocol string, err error) {
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

// Tracer returns the tracer for spans; nil if t is nil.
func (t *Tracing) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(scope)
}

// Queries makes a connection create spans for its queries in sampled traces. A span has
// the query's text without the arguments.
func (t *Tracing) Queries(c *pgx.ConnConfig) {
	if t != nil {
		c.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(t.provider), otelpgx.WithDisableConnectionDetailsInAttributes())
	}
}

// Requests makes each request to h start a trace, except health checks. The caller's trace
// becomes a link, not the parent: untrusted callers must not decide what is sampled.
func (t *Tracing) Requests(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return otelhttp.NewHandler(h, "request", otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/healthz" && r.URL.Path != "/readyz" }))
}

// Stop exports the remaining spans and ends the export. It takes at most one second.
func (t *Tracing) Stop() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), flushTime, fmt.Errorf("the endpoint in OTEL_EXPORTER_OTLP_ENDPOINT exceeded the limit of %s", flushTime))
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("export the last traces: %w", err)
	}
	return nil
}
