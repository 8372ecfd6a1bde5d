package pg_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

func TestConnectionStringsOfEachFormAreParsed(t *testing.T) {
	t.Parallel()
	for _, text := range []secret.Text{
		"postgres://fan:p%2F%40%23@db:5432/fanmail?sslmode=disable&search_path=x", "postgresql://fan@a:1,b:2/fanmail?target_session_attrs=read-write",
		"postgres:///fanmail?host=/tmp", "host=db user=fan password='a b@/#' dbname=fanmail options='-c geqo=off'", " postgres://fan@db/fanmail\n",
		"postgres://fan@db/fanmail?default_query_exec_mode=cache_describe&pool_max_conns=3",
	} {
		_, err := pg.Parse(text)
		require.NoError(t, err, text.Reveal())
	}
}

func TestAnErrorOfAConnectionStringNamesTheFileAndNothingElse(t *testing.T) {
	t.Parallel()
	_, err := pg.Parse("host=db password=hunter2 sslrootcert=/absent.pem sslmode=verify-full")
	require.ErrorContains(t, err, "/absent.pem")
	require.NotContains(t, err.Error(), "hunter2")
	_, err = pg.Parse("host=db password=my hunter2=x")
	require.ErrorContains(t, err, "ALTER ROLE")
	require.NotContains(t, err.Error(), "hunter2")
}

func FuzzParse(f *testing.F) {
	f.Add("postgres://fan:", "@db/fanmail")
	f.Add("host=db password=", " user=fan")
	f.Add("host=db password='a' ", "=x")
	f.Fuzz(func(t *testing.T, before, after string) {
		_, err := pg.Parse(secret.Text(before + "s3cretmark3r" + after))
		var file *fs.PathError
		if err != nil && !errors.As(err, &file) { // a file's path is no secret
			require.NotContains(t, err.Error(), "s3cretmark3r")
		}
	})
}
