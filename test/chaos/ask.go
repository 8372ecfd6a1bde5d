package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// refusal is an error answer of the API.
type refusal struct {
	status int
	text   string
}

func (e *refusal) Error() string { return e.text }

// ask makes one API request and decodes the answer into out, unless out is nil. An error that a retry
// cannot fix is permanent.
func (r *rig) ask(ctx context.Context, key, method, path string, in, out any) error {
	return r.request(ctx, key, "", method, path, in, out)
}

// insist retries under one idempotency key until the API answers. Deleting what is already deleted
// succeeds.
func (r *rig) insist(ctx context.Context, key, idempotency, method, path string, in, out any) error {
	return backoff.Retry(func() error {
		try, cancel := context.WithTimeout(ctx, tryTime)
		defer cancel()
		err := r.request(try, key, idempotency, method, path, in, out)
		if no, ok := errors.AsType[*refusal](err); ok && method == http.MethodDelete && no.status == http.StatusNotFound {
			return nil
		}
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(200*time.Millisecond), ctx))
}

func (r *rig) request(ctx context.Context, key, idempotency, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.api+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	if idempotency != "" {
		req.Header.Set("Idempotency-Key", idempotency)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		err := &refusal{resp.StatusCode, fmt.Sprintf("%s %s: %s: %s", method, path, resp.Status, b)}
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusConflict {
			return backoff.Permanent(err)
		}
		return err
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
