package apiclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// ErrExportCut means that an export ended before its last line.
var ErrExportCut = errors.New("the export was cut off before its last line; run it again")

// Export copies a tenant's export to a writer, and returns the counts of its last line. Without that line the error is
// [ErrExportCut].
func (c *Client) Export(ctx context.Context, query url.Values, to io.Writer) (map[string]int64, error) {
	req, err := c.request(ctx, http.MethodGet, "/v1/export", query, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http(0).Do(req) // a large export takes long
	if err != nil {
		return nil, fmt.Errorf("call the API at %s: %w", c.Base, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		response, _ := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
		return nil, problemOf(resp.StatusCode, response)
	}
	last := &lastLine{}
	if _, err := io.Copy(to, io.TeeReader(bufio.NewReader(resp.Body), last)); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, ErrExportCut
		}
		return nil, fmt.Errorf("read the export of %s: %w", c.Base, err)
	}
	var end struct {
		Kind   string           `json:"kind"`
		Counts map[string]int64 `json:"counts"`
	}
	if json.Unmarshal(last.text, &end) != nil || end.Kind != "end" {
		return nil, ErrExportCut
	}
	return end.Counts, nil
}

// lastLine keeps the beginning of the last line that is not empty.
type lastLine struct {
	text []byte
	over bool // the line in text has ended
}

// maxLastLine is more than the last line of an export has.
const maxLastLine = 4096

// Write looks for the ends of lines.
func (l *lastLine) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.over {
			l.text, l.over = l.text[:0], false
		}
		part, rest, found := bytes.Cut(p, []byte("\n"))
		l.text = append(l.text, part[:min(len(part), maxLastLine-len(l.text))]...)
		l.over, p = found, rest
	}
	return n, nil
}
