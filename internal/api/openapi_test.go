package api_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

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
	doc, err := api.OpenAPI("")
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
	doc, err := api.OpenAPI("")
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
