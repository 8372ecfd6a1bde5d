package fanmailtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// maxBody is more than any envelope has.
const maxBody = 4 << 20

// Request is one POST of a delivery that arrived and verified.
type Request struct {
	// Path is the path of the webhook's URL.
	Path string
	// EventID is the event's id, the same on every attempt. DeliveryID is the
	// delivery's, Attempt the number of the attempt, from 1.
	EventID, DeliveryID string
	Attempt             int
	Type                events.Type
	// Data is the event's data, Body the whole envelope as it was POSTed.
	Data json.RawMessage
	Body []byte
}

// Receiver is an HTTP server that receives webhooks. It answers 200 unless
// [Receiver.Respond] says otherwise. It is safe for concurrent use.
type Receiver struct {
	server *httptest.Server

	mu       sync.Mutex
	secrets  map[string][]string // by path
	respond  func(Request) int
	requests []Request
	faults   []error
}

func newReceiver() *Receiver {
	r := &Receiver{secrets: map[string][]string{}}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r
}

// URL is the address of a path, which begins with a slash.
func (r *Receiver) URL(path string) string { return r.server.URL + path }

// Verify makes the receiver accept requests to a path that a signing secret signed.
// A path may have several secrets: those of several webhooks, or of a rotation.
func (r *Receiver) Verify(path, secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[path] = append(r.secrets[path], secret)
}

// Respond makes the receiver answer each request with the status code that f
// returns. f may be called from many goroutines.
func (r *Receiver) Respond(f func(Request) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.respond = f
}

// Requests returns what has arrived so far, in order of arrival.
func (r *Receiver) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Err returns an error for each request that did not verify; nil where all did.
func (r *Receiver) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.faults...)
}

// Close stops the receiver. A kit closes its receiver by itself.
func (r *Receiver) Close() { r.server.Close() }

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	got, err := r.read(w, req)
	r.mu.Lock()
	if err != nil {
		r.faults = append(r.faults, fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err))
	} else {
		r.requests = append(r.requests, got)
	}
	respond := r.respond
	r.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case respond != nil:
		w.WriteHeader(respond(got))
	}
}

func (r *Receiver) read(w http.ResponseWriter, req *http.Request) (Request, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		return Request{}, err
	}
	if err := r.verify(req, body); err != nil {
		return Request{}, err
	}
	envelope, err := events.DecodeEnvelope(body)
	if err != nil {
		return Request{}, err
	}
	attempt, err := strconv.Atoi(req.Header.Get("Fanmail-Attempt"))
	if err != nil {
		return Request{}, fmt.Errorf("header Fanmail-Attempt: %w", err)
	}
	return Request{
		Path: req.URL.Path, EventID: req.Header.Get("webhook-id"), DeliveryID: req.Header.Get("Fanmail-Delivery-Id"),
		Attempt: attempt, Type: envelope.Type, Data: envelope.Data, Body: body,
	}, nil
}

var errNoSecret = errors.New("no webhook of the kit leads to this path; tell the receiver its secret with Verify")

func (r *Receiver) verify(req *http.Request, body []byte) error {
	r.mu.Lock()
	secrets := slices.Clone(r.secrets[req.URL.Path])
	r.mu.Unlock()
	err := errNoSecret
	for _, secret := range secrets {
		if err = signature.Verify(secret, req.Header, body, time.Now(), 0); err == nil {
			return nil
		}
	}
	return err
}
