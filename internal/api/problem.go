package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/jackc/pgx/v5/pgconn"
)

// statusClientClosed is the status that metrics count when the client has
// closed the connection. It is nginx's number; no client ever reads it.
const statusClientClosed = 499

// problem is an error with a status and a detail of its own.
func problem(status int, format string, args ...any) error {
	return huma.NewError(status, fmt.Sprintf(format, args...))
}

// fault is a 422 that names the location of the bad value, such as "body.url"
// or "query.cursor".
func fault(location, format string, args ...any) error {
	return huma.NewError(http.StatusUnprocessableEntity, "validation failed",
		&huma.ErrorDetail{Location: location, Message: fmt.Sprintf(format, args...)})
}

// unavailable says whether the same request can succeed once the database is
// back.
func unavailable(err error) bool {
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

// plainProblem rewrites the problems of package huma. The detail names the
// first wrong field, the location of a missing field is the field itself, and
// values of the request are removed.
func plainProblem(_ huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*huma.ErrorModel)
	if !ok || len(p.Errors) == 0 {
		return v, nil
	}
	out := *p
	listed := p.Errors[:min(len(p.Errors), maxProblemErrors)]
	out.Errors = make([]*huma.ErrorDetail, len(listed), len(listed)+1)
	before, after, _ := strings.Cut(validation.MsgExpectedRequiredProperty, "%s")
	for i, e := range listed {
		d := huma.ErrorDetail{Message: clip(e.Message), Location: clip(e.Location)}
		if name, ok := strings.CutPrefix(d.Message, before); ok {
			if name, ok = strings.CutSuffix(name, after); ok {
				d.Location, d.Message = d.Location+"."+name, "is required"
			}
		}
		out.Errors[i] = &d
	}
	if more := len(p.Errors) - len(listed); more > 0 {
		out.Errors = append(out.Errors, &huma.ErrorDetail{Message: fmt.Sprintf("%d more errors are not listed", more)})
	}
	if first := out.Errors[0]; first.Location != "" {
		out.Detail = first.Location + ": " + first.Message
	}
	return &out, nil
}

// maxProblemErrors bounds the list of errors of a problem, and maxProblemText each
// text in it, which can hold a name that the client has made up. The list of all event
// types fits.
const (
	maxProblemErrors = 20
	maxProblemText   = 1000
)

// clip shortens a text to maxProblemText bytes of UTF-8.
func clip(s string) string {
	if len(s) <= maxProblemText {
		return s
	}
	return strings.ToValidUTF8(s[:maxProblemText], "") + "…"
}

// writeProblem answers a request that has no operation.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(&huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: detail})
}

func writeJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body + "\n"))
}
