package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

//go:generate go test -run TestTheDocumentInTheRepositoryIsCurrent . -update

var update = flag.Bool("update", false, "write openapi.json")

// Tags of struct fields cannot refer to constants.
func TestTheDocumentStatesTheLimitsOfTheCode(t *testing.T) {
	t.Parallel()
	doc, err := api.OpenAPI()
	require.NoError(t, err)
	var parsed struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Description                string
					Minimum, Maximum, MaxItems int
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(doc, &parsed))
	schemas := parsed.Components.Schemas
	settings, change := schemas["WebhookSettings"].Properties, schemas["WebhookChange"].Properties
	require.Equal(t, subscribers.MaxMaxInFlight, settings["max_in_flight"].Maximum)
	require.Equal(t, subscribers.MaxMaxInFlight, change["max_in_flight"].Maximum)
	require.Contains(t, settings["max_in_flight"].Description, fmt.Sprintf("Absent: %d,", subscribers.DefaultMaxInFlight))
	require.Equal(t, subscribers.MaxRateLimit, settings["rate_limit"].Maximum)
	require.Equal(t, subscribers.MaxRateLimit, change["rate_limit"].Maximum)
	require.Contains(t, settings["url"].Description, fmt.Sprintf("%d bytes", subscribers.MaxURLBytes))
	require.Contains(t, settings["description"].Description, fmt.Sprintf("%d bytes", subscribers.MaxDescriptionBytes))
	require.Equal(t, tenancy.MaxRateLimit, schemas["KeySettings"].Properties["rate_limit"].Maximum)
	require.Equal(t, replay.MaxAgents, schemas["NewReplay"].Properties["agent_ids"].MaxItems)
	counts := schemas["Counts"].Properties
	require.Contains(t, counts["complete"].Description, fmt.Sprint(subscribers.StatsSample))
	require.Contains(t, counts["waiting"].Description, fmt.Sprint(subscribers.StatsBacklog))
	require.Contains(t, schemas["StatsEventsStruct"].Properties["waiting"].Description, fmt.Sprint(outbox.MaxWaiting))
}

const documentFile = "openapi.json"

func TestTheDocumentInTheRepositoryIsCurrent(t *testing.T) {
	t.Parallel()
	doc, err := api.OpenAPI()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(documentFile, doc, 0o600))
	}
	kept, err := os.ReadFile(documentFile)
	require.NoError(t, err)
	require.Equal(t, string(kept), string(doc), "run `go generate ./internal/api`")

	var parsed struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string           `json:"operationId"`
			Security    []map[string]any `json:"security"`
			Summary     string           `json:"summary"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(doc, &parsed))
	require.Regexp(t, `^3\.1\.`, parsed.OpenAPI)
	for path, item := range parsed.Paths {
		for method, op := range item {
			require.NotEmpty(t, op.OperationID, "%s %s", method, path)
			require.NotEmpty(t, op.Summary, op.OperationID)
			require.NotEmpty(t, op.Security, op.OperationID)
		}
	}
}

// TestEachOperationHasSamplesThatFitItsSchemas: each body that a request must have, and each that a request is answered
// with if nothing is wrong. The POSTs to webhooks are operations too.
func TestEachOperationHasSamplesThatFitItsSchemas(t *testing.T) {
	t.Parallel()
	raw, err := api.OpenAPI()
	require.NoError(t, err)
	var doc struct {
		Paths, Webhooks map[string]map[string]described
		Components      json.RawMessage
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	require.Len(t, doc.Webhooks, len(events.Catalogue()))
	samples := 0
	check := func(operation string, required bool, content map[string]media) {
		for name, m := range content {
			if name == "application/problem+json" || m.Example == nil && !required {
				continue
			}
			require.NotNil(t, m.Example, "%s has no sample of %s: record it with the contract test in test/e2e", operation, name)
			samples++
			compiler := jsonschema.NewCompiler()
			whole, err := jsonschema.UnmarshalJSON(strings.NewReader(`{"components":` + string(doc.Components) + `,"it":` + string(m.Schema) + `}`))
			require.NoError(t, err)
			require.NoError(t, compiler.AddResource("doc.json", whole))
			schema, err := compiler.Compile("doc.json#/it")
			require.NoError(t, err, operation)
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(m.Example))
			require.NoError(t, err)
			require.NoError(t, schema.Validate(value), "%s: %s", operation, m.Example)
		}
	}
	for _, part := range []map[string]map[string]described{doc.Paths, doc.Webhooks} {
		for _, item := range part {
			for _, op := range item {
				for _, p := range op.Parameters {
					require.True(t, p.In != "path" || p.Example != nil, "%s has no sample of %s in its path: record it with the contract test in test/e2e", op.OperationID, p.Name)
				}
				check(op.OperationID, op.RequestBody.Required, op.RequestBody.Content)
				for _, answer := range op.Responses {
					check(op.OperationID, true, answer.Content)
				}
			}
		}
	}
	require.Greater(t, samples, 90)
}

type described struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Example  any
	}
	RequestBody struct {
		Required bool
		Content  map[string]media
	}
	Responses map[string]struct{ Content map[string]media }
}

type media struct{ Schema, Example json.RawMessage }
