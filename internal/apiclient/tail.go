package apiclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Tailed is one event of a tail.
type Tailed struct {
	// Place is the value of after that resumes the tail after this event.
	Place string
	Type  string
	// Envelope is the envelope of the event, byte for byte.
	Envelope []byte
}

// ErrTailEnded says that the stream ended: the server stops, or the connection
// broke. Call [Client.Tail] again with the last place.
var ErrTailEnded = errors.New("the stream ended")

// maxLine bounds one line of the stream. It is four times the largest envelope.
const maxLine = 1 << 20

// Tail calls began when the stream starts, and then took for each event after the
// given [Tailed.Place]. An empty place starts at the query's since, or now. Tail
// returns took's error, a [*Problem], or an error that wraps [ErrTailEnded].
func (c *Client) Tail(ctx context.Context, query url.Values, after string, began func(), took func(Tailed) error) error {
	req, err := c.request(ctx, http.MethodGet, "/v1/events/tail", query, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	resp, err := c.http(0).Do(req) // a tail has no time-out
	if err != nil {
		return fmt.Errorf("call the API at %s: %w", c.Base, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		response, _ := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
		return problemOf(resp.StatusCode, response)
	}
	began()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	var e Tailed
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "" && e.Envelope != nil:
			if err := took(e); err != nil {
				return err
			}
			e = Tailed{}
		case name == "id":
			e.Place = value
		case name == "event":
			e.Type = value
		case name == "data":
			e.Envelope = []byte(value)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrTailEnded, err)
	}
	return ErrTailEnded
}
