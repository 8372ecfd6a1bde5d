package api_test

import (
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
)

//go:generate go test -run TestTheDocumentInTheRepositoryIsCurrent . -update

var update = flag.Bool("update", false, "write openapi.json")

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
