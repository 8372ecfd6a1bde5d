package arch_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/arch"
)

func TestSQLOnSomebodyElsesTableIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, src, says string }{
		"a statement in backquotes": {"fanout/f.go", "package fanout\n\nconst s = `DELETE FROM fanmail.outbox`\n", "f.go:3: fanout has SQL on fanmail.outbox, which belongs to outbox"},
		"a join":                    {"subscribers/s.go", "package subscribers\n\nconst s = \"SELECT 1 FROM fanmail.webhooks JOIN fanmail.tenants ON true\"\n", "subscribers has SQL on fanmail.tenants"},
		"a part of a statement":     {"internal/app/a.go", "package app\n\nvar s = \" FROM fanmail.\" + `fanmail.events`\n", "internal/app has SQL on fanmail.events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			breaches, err := arch.Check(fstest.MapFS{c.file: {Data: []byte(c.src)}})
			require.NoError(t, err)
			require.Contains(t, strings.Join(breaches, "\n"), c.says)
		})
	}
	breaches, err := arch.Check(fstest.MapFS{
		"outbox/o.go":      {Data: []byte("package outbox\n\nconst s = `DELETE FROM fanmail.outbox`\n")},
		"fanout/f_test.go": {Data: []byte("package fanout\n\nconst s = `DELETE FROM fanmail.outbox`\n")},
		"subscribers/s.go": {Data: []byte("package subscribers\n\nconst s = `SELECT fanmail.bucket(now())`\n")},
	})
	require.NoError(t, err)
	require.NotContains(t, strings.Join(breaches, "\n"), "has SQL on")
}

// TestEveryTableHasOneOwner compares the owners with the migrations.
func TestEveryTableHasOneOwner(t *testing.T) {
	t.Parallel()
	schema, err := os.ReadFile("../../deploy/migrations/00001_schema.sql")
	require.NoError(t, err)
	made := []string{"goose_db_version"}
	for _, m := range regexp.MustCompile(`(?m)^CREATE TABLE fanmail\.(\w+)`).FindAllStringSubmatch(string(schema), -1) {
		made = append(made, m[1])
	}
	var owned []string
	for _, o := range arch.Owners {
		require.NotEmpty(t, o.Because, o.Package)
		owned = append(owned, o.Tables...)
	}
	slices.Sort(made)
	slices.Sort(owned)
	require.Equal(t, made, owned)
}
