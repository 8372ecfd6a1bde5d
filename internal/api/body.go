package api

import "github.com/danielgtaylor/huma/v2"

// body is a response of one JSON value.
type body[T any] struct{ Body T }

func reply[T any](v T) *body[T] { return &body[T]{Body: v} }

// nothing is the body of a POST without content: absent, or an empty object.
type nothing struct{}

// streamed is a response that its handler writes itself.
type streamed struct{ Body func(huma.Context) }

// text is nil for the empty string.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
