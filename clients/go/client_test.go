package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	client "github.com/fanmail-dev/fanmail/clients/go"
)

func TestAnswersThatAreNoSuccessAreErrors(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer behind-a-proxy" {
			http.Error(w, "the server is away", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"status":422,"detail":"validation failed","errors":[{"message":"expected a URL","location":"body.url"}]}`))
	}))
	t.Cleanup(s.Close)
	for key, want := range map[string]struct {
		status int
		says   string
	}{
		"any":            {422, "the API answered 422: validation failed; body.url: expected a URL"},
		"behind-a-proxy": {502, "the API answered 502"},
	} {
		c, err := client.New(s.URL, key)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.ListWebhooksWithResponse(context.Background(), nil)
		err = client.Check(answer, err)
		var p *client.Problem
		if !errors.As(err, &p) || p.Status != want.status || err.Error() != want.says {
			t.Errorf("%s: %v", key, err)
		}
	}
	for _, pair := range [][2]string{{"", "k"}, {s.URL, ""}} {
		if _, err := client.New(pair[0], pair[1]); err == nil {
			t.Errorf("%q is no pair of URL and key", pair)
		}
	}
}
