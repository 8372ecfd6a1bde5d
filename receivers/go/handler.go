package receiver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
)

// Handler returns a handler of POST requests. It calls handle with each event that is
// authentic and no duplicate.
//
//   - If handle returns nil, the answer is 204, and the delivery is done.
//   - If it returns an error, the answer is 500, and Fanmail sends the event again. The
//     log has the error, the answer has not.
//
// Fanmail waits 15 seconds for the answer: leave longer work to a queue.
func (r *Receiver) Handler(handle func(ctx context.Context, event Event) error) http.Handler {
	return r.receive(func(w http.ResponseWriter, req *http.Request, event Event) bool {
		if err := handle(req.Context(), event); err != nil {
			r.logger.ErrorContext(req.Context(), "an event was not handled", "event_id", event.ID, "event_type", event.Type, "error", err)
			http.Error(w, "the event was not handled", http.StatusInternalServerError)
			return false
		}
		w.WriteHeader(http.StatusNoContent)
		return true
	})
}

type contextKey struct{}

// Middleware verifies requests before they come to next, which finds the event with
// [FromContext] and can read the body again. An answer of 2xx means that the event is
// handled.
func (r *Receiver) Middleware(next http.Handler) http.Handler {
	return r.receive(func(w http.ResponseWriter, req *http.Request, event Event) bool {
		s := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(s, req.WithContext(context.WithValue(req.Context(), contextKey{}, event)))
		return s.status/100 == 2
	})
}

// FromContext returns the event of a request that [Receiver.Middleware] let through.
func FromContext(ctx context.Context) (Event, bool) {
	event, ok := ctx.Value(contextKey{}).(Event)
	return event, ok
}

// statusWriter remembers the status of the answer.
type statusWriter struct {
	http.ResponseWriter
	status  int
	written bool
}

// WriteHeader implements [http.ResponseWriter].
func (s *statusWriter) WriteHeader(status int) {
	if !s.written && status >= 200 { // the last answer counts, and 1xx are none
		s.status, s.written = status, true
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (s *statusWriter) Write(b []byte) (int, error) {
	s.written = true
	return s.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// receive verifies a request and drops duplicates. handle answers the rest, and says whether the event was handled.
func (r *Receiver) receive(handle func(http.ResponseWriter, *http.Request, Event) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "only POST is allowed", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, r.maxBody))
		if err != nil {
			status := http.StatusBadRequest
			if errors.As(err, new(*http.MaxBytesError)) {
				status = http.StatusRequestEntityTooLarge
			}
			r.refuse(w, req, status, err)
			return
		}
		event, err := r.Verify(req.Header, body)
		switch {
		case errors.Is(err, ErrSignature):
			r.refuse(w, req, http.StatusUnauthorized, err)
			return
		case err != nil:
			r.refuse(w, req, http.StatusBadRequest, err)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		r.once(w, req, event, handle)
	})
}

func (r *Receiver) refuse(w http.ResponseWriter, req *http.Request, status int, reason error) {
	r.logger.WarnContext(req.Context(), "a request was refused", "status", status, "error", reason)
	http.Error(w, http.StatusText(status), status)
}

// once calls handle unless the event is a duplicate.
func (r *Receiver) once(w http.ResponseWriter, req *http.Request, event Event, handle func(http.ResponseWriter, *http.Request, Event) bool) {
	if r.seen == nil {
		handle(w, req, event)
		return
	}
	state, err := r.seen.Begin(req.Context(), event.ID)
	switch {
	case err != nil:
		r.logger.ErrorContext(req.Context(), "it is not known whether an event was handled", "event_id", event.ID, "error", err)
		http.Error(w, "the event was not handled", http.StatusInternalServerError)
		return
	case state == Done:
		w.WriteHeader(http.StatusNoContent)
		return
	case state == Busy:
		http.Error(w, "another request with this event is being handled", http.StatusConflict)
		return
	}
	handled := false
	ctx := context.WithoutCancel(req.Context()) // the result is remembered also if the client has gone
	defer func() {
		if err := r.seen.End(ctx, event.ID, handled); err != nil {
			r.logger.ErrorContext(ctx, "whether an event was handled is not remembered", "event_id", event.ID, "handled", handled, "error", err)
		}
	}()
	handled = handle(w, req, event)
}
