package apiclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Tailed is one event of a tail.
type Tailed struct {
	// Place is where to go on from after this event.
	Place string
	Type  string
	// Envelope is the event's, byte for byte.
	Envelope []byte
}

// ErrTailEnded says that the server ended the stream: it stops, or the
// connection broke. Call again with the last place.
var ErrTailEnded = errors.New("the stream ended")

// maxEnvelope bounds one line of the stream: an envelope has at most 256 KiB.
const maxEnvelope = 1 << 20

// Tail calls took for every event from after on (a [Tailed.Place]; "": from
// now on, or from the query's since), and began once the server watches. It
// returns took's error, a [*Problem], or one that wraps [ErrTailEnded].
func (c *Client) Tail(ctx context.Context, query url.Values, after string, began func(), took func(Tailed) error) error {
	target := strings.TrimRight(c.Base, "/") + "/v1/events/tail"
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.Base, err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.Key)
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	// No time-out: it is meant to last.
	resp, err := (&http.Client{Transport: transport.Transport}).Do(req)
	if err != nil {
		return fmt.Errorf("call the API at %s: %w", c.Base, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		p := &Problem{}
		if json.Unmarshal(answer, p) != nil || p.Title+p.Detail == "" {
			p.Title = http.StatusText(resp.StatusCode)
		}
		p.Status = resp.StatusCode
		return p
	}
	began()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxEnvelope)
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
