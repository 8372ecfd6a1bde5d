package schema_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/schema"
)

func TestEveryTypeHasASampleThatFitsItsSchema(t *testing.T) {
	t.Parallel()
	for _, typ := range events.Catalogue() {
		data, err := schema.Sample(string(typ))
		require.NoError(t, err, typ)
		require.NoError(t, schema.ValidateData(string(typ), data), typ)
		var value any
		require.NoError(t, json.Unmarshal(data, &value))
		shown(t, string(typ), value)
	}
	_, err := schema.Sample("no.such_type")
	require.ErrorIs(t, err, schema.ErrUnknown)
}

// shown fails if a list of a sample is empty that shows its readers what its items look like.
func shown(t *testing.T, at string, value any) {
	t.Helper()
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			shown(t, at+"."+name, inner)
		}
	case []any:
		plain := []string{"references", "truncated"} // texts, which a first mail that was not cut lacks
		if !slices.ContainsFunc(plain, func(name string) bool { return strings.HasSuffix(at, "."+name) }) {
			require.NotEmpty(t, v, at)
		}
		for _, inner := range v {
			shown(t, at, inner)
		}
	}
}
