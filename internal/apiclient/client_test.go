package apiclient_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

func serve(t *testing.T, h http.HandlerFunc) *apiclient.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &apiclient.Client{Base: s.URL + "/", Key: "fm_hunter2"}
}

func TestAProblemIsOneLineThatNamesTheField(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"title":"Unprocessable","detail":"validation failed","errors":[{"message":"must be https","location":"body.url"}]}`)
	})
	err := c.Do(t.Context(), http.MethodPost, "/v1/webhooks", nil, map[string]string{}, nil)
	require.EqualError(t, err, "validation failed: body.url: must be https (422)")
	var p *apiclient.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnprocessableEntity, p.Status)
}

func TestAFaultIsSaidOnce(t *testing.T) {
	t.Parallel()
	var p apiclient.Problem
	require.NoError(t, json.Unmarshal([]byte(`{"title":"Unprocessable Entity","detail":"body.url: is required",
		"errors":[{"message":"is required","location":"body.url"},{"message":"is required","location":"body.events"}]}`), &p))
	p.Status = http.StatusUnprocessableEntity
	require.EqualError(t, &p, "body.url: is required; body.events: is required (422)")
}

func TestARefusalWithoutAProblemIsNamedByItsStatus(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) })
	require.EqualError(t, c.Do(t.Context(), http.MethodGet, "/", nil, nil, nil), "Bad Gateway (502)")
}

func TestARequestCarriesKeyQueryAndBody(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"key": r.Header.Get("Authorization"), "target": r.RequestURI, "body": string(b),
		})
	})
	var got map[string]string
	require.NoError(t, c.Do(t.Context(), http.MethodPost, "/v1/x", url.Values{"limit": {"1"}}, map[string]int{"n": 1}, &got))
	require.Equal(t, map[string]string{"key": "Bearer fm_hunter2", "target": "/v1/x?limit=1", "body": `{"n":1}`}, got)
}

func TestAnUnreachableServerIsNamedAndTheKeyIsNot(t *testing.T) {
	t.Parallel()
	c := &apiclient.Client{Base: "http://127.0.0.1:1", Key: "fm_hunter2"}
	err := c.Do(t.Context(), http.MethodGet, "/v1/x", nil, nil, nil)
	require.ErrorContains(t, err, "http://127.0.0.1:1")
	require.NotContains(t, err.Error(), "hunter2")

	c = serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	var out map[string]any
	require.ErrorContains(t, c.Do(t.Context(), http.MethodGet, "/", nil, nil, &out), "is it Fanmail's API?")
}
