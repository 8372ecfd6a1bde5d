package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

//go:generate go tool -modfile=../../tools/oapi-codegen/go.mod oapi-codegen -config oapi-codegen.yaml ../../internal/api/openapi.json

// New returns a client of the server at url, such as "https://fanmail.example.com", with
// the key of a tenant or of an operator. Requests that wait longer than 30 seconds need
// an [http.Client] of yours: see [WithHTTPClient].
func New(url, key string, options ...ClientOption) (*ClientWithResponses, error) {
	if url == "" || key == "" {
		return nil, errors.New("make a client: url and key are needed")
	}
	authorize := func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+key)
		return nil
	}
	c, err := NewClientWithResponses(url, append([]ClientOption{WithRequestEditorFn(authorize)}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return c, nil
}

// Ptr returns a pointer to a value, for optional fields.
func Ptr[T any](v T) *T { return &v }

// Problem is an answer other than 2xx.
type Problem struct {
	// Status of the answer.
	Status int
	// Detail is what the server says of the error; its Errors name fields.
	Detail ErrorModel
}

// Error implements error.
func (p *Problem) Error() string {
	text := fmt.Sprintf("the API answered %d", p.Status)
	if p.Detail.Detail != nil {
		text += ": " + *p.Detail.Detail
	}
	if p.Detail.Errors != nil {
		for _, e := range *p.Detail.Errors {
			if e.Location != nil && e.Message != nil {
				text += fmt.Sprintf("; %s: %s", *e.Location, *e.Message)
			}
		}
	}
	return text
}

// Answer is an answer of a method with the suffix WithResponse.
type Answer interface {
	StatusCode() int
	GetBody() []byte
}

// Check returns err if it is not nil, and a [*Problem] if the answer is none of 2xx.
func Check(answer Answer, err error) error {
	if err != nil {
		return err
	}
	if status := answer.StatusCode(); status/100 != 2 {
		p := &Problem{Status: status}
		_ = json.Unmarshal(answer.GetBody(), &p.Detail) // a proxy's answer is no problem of the API
		return p
	}
	return nil
}
