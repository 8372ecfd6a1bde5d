package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls one server with one key.
type Client struct {
	// Base is the server's URL without /v1.
	Base string
	// Key is an operator's or a tenant's.
	Key string
}

// Problem is the server's refusal, RFC 9457.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// Error is the detail and the fields at fault, in one line.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	var faults []string
	for _, e := range p.Errors {
		faults = append(faults, strings.TrimPrefix(e.Location+": "+e.Message, ": "))
	}
	if len(faults) > 0 {
		text = strings.TrimPrefix(text+": "+strings.Join(faults, "; "), ": ")
	}
	return fmt.Sprintf("%s (%d)", strings.Join(strings.Fields(text), " "), p.Status)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

var transport = &http.Client{
	Timeout: time.Minute,
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second,
	},
}

// Do calls the API: in, where not nil, is the JSON body; out, where not nil,
// takes the answer (a *json.RawMessage takes it as it is). An answer other
// than 2xx is a [*Problem].
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	target := strings.TrimRight(c.Base, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.Base, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.Key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := transport.Do(req)
	if err != nil {
		return fmt.Errorf("call the API at %s: %w", c.Base, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.Base, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		p := &Problem{}
		if json.Unmarshal(answer, p) != nil || p.Title+p.Detail == "" {
			p.Title = http.StatusText(resp.StatusCode)
		}
		p.Status = resp.StatusCode
		return p
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s did not answer with JSON: is it Fanmail's API? %w", c.Base, err)
	}
	return nil
}
