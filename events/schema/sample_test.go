package schema_test

import (
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
	}
	_, err := schema.Sample("no.such_type")
	require.ErrorIs(t, err, schema.ErrUnknown)
}
