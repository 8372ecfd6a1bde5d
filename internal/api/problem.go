package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// problem is an error with an answer of its own.
func problem(status int, format string, args ...any) error {
	return huma.NewError(status, fmt.Sprintf(format, args...))
}

// fault is a 422 that names the place of a bad value, such as "body.url" or
// "query.cursor".
func fault(location, format string, args ...any) error {
	return huma.NewError(http.StatusUnprocessableEntity, "validation failed",
		&huma.ErrorDetail{Location: location, Message: fmt.Sprintf(format, args...)})
}

// answer makes an answer out of a handler's error. What it does not know is
// logged and told as "internal error".
func (s *server) answer(ctx context.Context, operation string, err error) error {
	var status huma.StatusError
	var field *events.FieldError
	var limit *subscribers.LimitError
	switch {
	case errors.As(err, &status):
		return err
	case errors.As(err, &field) && field.Field == "body":
		return huma.NewError(http.StatusBadRequest, "body: "+field.Reason, &huma.ErrorDetail{Location: "body", Message: field.Reason})
	case errors.As(err, &field):
		return fault("body."+field.Field, "%s", field.Reason)
	case errors.As(err, &limit), errors.Is(err, subscribers.ErrDisabled), errors.Is(err, subscribers.ErrCooldown),
		errors.Is(err, subscribers.ErrDelivered), errors.Is(err, subscribers.ErrDeleted), errors.Is(err, subscribers.ErrExpired):
		return problem(http.StatusConflict, "%s", err)
	case errors.Is(err, subscribers.ErrNotFound), errors.Is(err, pgx.ErrNoRows):
		return problem(http.StatusNotFound, "not found")
	case ctx.Err() != nil:
		return problem(499, "the client closed the request")
	case away(err):
		s.log.Warn("the database is away", zap.String("operation", operation), zap.Error(err))
		return huma.ErrorWithHeaders(problem(http.StatusServiceUnavailable, "the database is away; try again"),
			http.Header{"Retry-After": {"1"}})
	}
	s.log.Error("a request failed", zap.String("operation", operation), zap.Error(err))
	return problem(http.StatusInternalServerError, "internal error")
}

// away says whether the same request may succeed once the database is back.
func away(err error) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pe.Code[:min(2, len(pe.Code))] {
		case "08", "53", "57", "40", "25", "55": // connection, resources, shutdown or time-out, rollback, standby, lock
			return true
		}
		return false
	}
	var ce *pgconn.ConnectError
	var ne net.Error
	return errors.As(err, &ce) || errors.As(err, &ne) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// plainProblem rewrites the library's problems: the detail names the first
// field by itself, a missing field is named by its own place, and values are
// not sent back.
func plainProblem(_ huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*huma.ErrorModel)
	if !ok || len(p.Errors) == 0 {
		return v, nil
	}
	out := *p
	out.Errors = make([]*huma.ErrorDetail, len(p.Errors))
	before, after, _ := strings.Cut(validation.MsgExpectedRequiredProperty, "%s")
	for i, e := range p.Errors {
		d := huma.ErrorDetail{Message: e.Message, Location: e.Location}
		if name, ok := strings.CutPrefix(d.Message, before); ok {
			if name, ok = strings.CutSuffix(name, after); ok {
				d.Location, d.Message = d.Location+"."+name, "is required"
			}
		}
		out.Errors[i] = &d
	}
	if first := out.Errors[0]; first.Location != "" {
		out.Detail = first.Location + ": " + first.Message
	}
	return &out, nil
}

// writeProblem answers where no operation does.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(&huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}
