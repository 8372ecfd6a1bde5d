package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Client calls one server with one key.
type Client struct {
	// Base is the server's URL without /v1.
	Base string
	// Key is the key of an operator or of a tenant.
	Key string
	// Tenant is the tenant whose data an operator's key reads; "": none.
	Tenant string
	// Proxy selects the proxy of a request, such as [http.ProxyFromEnvironment].
	// nil: no proxy.
	Proxy func(*http.Request) (*url.URL, error)

	once      sync.Once
	transport *http.Transport
}

// Problem is an error response of the server, RFC 9457.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// Error returns the detail and the wrong fields on one line, each once.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	var faults []string
	for _, e := range p.Errors {
		// The detail can be the first fault already.
		if fault := strings.TrimPrefix(e.Location+": "+e.Message, ": "); !strings.Contains(text, fault) {
			faults = append(faults, fault)
		}
	}
	switch {
	case len(faults) == 0:
	case len(faults) < len(p.Errors): // the detail is the first of them
		text += "; " + strings.Join(faults, "; ")
	default:
		text = strings.TrimPrefix(text+": "+strings.Join(faults, "; "), ": ")
	}
	return fmt.Sprintf("%s (%d)", strings.Join(strings.Fields(text), " "), p.Status)
}

const (
	// maxResponse bounds the bytes that are read of a response.
	maxResponse = 16 << 20
	// timeout bounds a call of [Client.Do].
	timeout = time.Minute
)

// http returns an HTTP client that shares the connections of c. timeout 0: none.
func (c *Client) http(timeout time.Duration) *http.Client {
	c.once.Do(func() {
		c.transport = &http.Transport{Proxy: c.Proxy, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second}
	})
	return &http.Client{Timeout: timeout, Transport: c.transport}
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	target := strings.TrimRight(c.Base, "/") + path
	if c.Tenant != "" && method == http.MethodGet {
		of := url.Values{"tenant_id": {c.Tenant}}
		maps.Copy(of, query)
		query = of
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("call the API at %s: %w", c.Base, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Key)
	return req, nil
}

// problemOf decodes an error response.
func problemOf(status int, response []byte) *Problem {
	p := &Problem{}
	if json.Unmarshal(response, p) != nil || p.Title+p.Detail == "" {
		p.Title = http.StatusText(status)
	}
	p.Status = status
	return p
}

// Do calls the API. in is the JSON body, nil for none. out takes the response:
// nil drops it, a *json.RawMessage takes it undecoded. A response other than 2xx
// is a [*Problem].
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http(timeout).Do(req)
	if err != nil {
		return fmt.Errorf("call the API at %s: %w", c.Base, err)
	}
	defer func() { _ = resp.Body.Close() }()
	response, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return fmt.Errorf("read the response of %s: %w", c.Base, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return problemOf(resp.StatusCode, response)
	}
	if out == nil || len(response) == 0 {
		return nil
	}
	if err := json.Unmarshal(response, out); err != nil {
		return fmt.Errorf("%s did not answer with JSON: is it Fanmail's API? %w", c.Base, err)
	}
	return nil
}
