package api

import (
	"mime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The name of a file is served whole, whatever is in it.
func TestNamesOfFilesAreServedWhole(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.pdf":          `attachment; filename="a.pdf"`,
		"a b;c.pdf":      `attachment; filename="a b;c.pdf"`,
		`5" disk.pdf`:    `attachment; filename="5_ disk.pdf"; filename*=UTF-8''5%22%20disk.pdf`,
		`"a"; b="c".pdf`: `attachment; filename="_a_; b=_c_.pdf"; filename*=UTF-8''%22a%22%3B%20b%3D%22c%22.pdf`,
		"100%.pdf":       `attachment; filename="100_.pdf"; filename*=UTF-8''100%25.pdf`,
		"Grüße+.pdf":     `attachment; filename="Gr__e+.pdf"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%2B.pdf`,
		"..\\..\\x.pdf":  `attachment; filename="x.pdf"`,
		"a\r\nb: c.pdf":  `attachment; filename="ab: c.pdf"`,
		"":               `attachment; filename="attachment-3"`,
		"..":             `attachment; filename="attachment-3"`,
	} {
		got := download(name, 3)
		require.Equal(t, want, got, "%q", name)
		_, params, err := mime.ParseMediaType(got)
		require.NoError(t, err)
		if !strings.ContainsAny(name, "\\\r\n") && strings.Trim(name, ".") != "" {
			require.Equal(t, name, params["filename"])
		}
	}
}
