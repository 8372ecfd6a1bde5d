package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheRootLeadsToTheConsole(t *testing.T) {
	t.Parallel()
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })
	}
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		front(named("api"), named("console")).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		return w
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		require.Equal(t, http.StatusFound, ask(method, "/").Code)
		require.Equal(t, "/console/", ask(method, "/").Header().Get("Location"))
	}
	for path, want := range map[string]string{"/v1/webhooks": "api", "/docs": "api", "/consoles": "api", "/console": "console", "/console/webhooks": "console"} {
		require.Equal(t, want, ask(http.MethodGet, path).Body.String(), path)
	}
	require.Equal(t, "api", ask(http.MethodPost, "/").Body.String())
}
