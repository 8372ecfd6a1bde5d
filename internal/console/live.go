package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// liveEvery is how often a live part is rendered. One that takes long is rendered less
	// often, so that a stream spends at most a twentieth of its time on it.
	liveEvery = time.Second
	liveShare = 20
	liveRare  = 15 * time.Second
	// livePulse is how often an idle stream sends a comment, so that no proxy closes it.
	livePulse = 15 * time.Second
	// liveTime bounds how long rendering a live part may take, and maxLivePart its bytes.
	liveTime    = 10 * time.Second
	maxLivePart = 4 << 20
)

// errLivePart says that a live part has more than maxLivePart bytes.
var errLivePart = fmt.Errorf("the live part of the page has more than %d MiB, which is the limit: reload the page to see what is new", maxLivePart>>20)

func (s *server) liveRoutes() { s.get("/live", s.live) }

// live sends the live part of a page each time it has changed. It ends when the client
// closes it, the session ends, or the process stops.
func (s *server) live(c *call) error {
	inner, ok := strings.CutPrefix(c.query().Get("page"), c.base)
	at, err := url.Parse(inner)
	if !ok || err != nil || !strings.HasPrefix(inner, "/") || c.block != "" {
		return refused(http.StatusBadRequest, "page is no page of the console")
	}
	// Any other route could send a whole mail, or have an effect, each time.
	if _, pattern := s.mux.Handler(requestFor(c.r, at)); !s.watched[pattern] {
		return refused(http.StatusBadRequest, "page has no live part")
	}
	q := at.Query()
	q.Set("fragment", "live")
	at.RawQuery = q.Encode()
	key := c.who.TenantID.String()
	if !s.streams.open(key) {
		c.w.Header().Set("Retry-After", "30")
		return refused(http.StatusTooManyRequests, fmt.Sprintf("%d live pages are open; the page shows what was true when it was loaded", maxLive))
	}
	defer s.streams.close(key)
	s.metrics.live.Inc()
	defer s.metrics.live.Dec()
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.Header().Set("X-Accel-Buffering", "no")
	st := &stream{w: c.w, control: http.NewResponseController(c.w)}
	if err := st.send(":\n\n"); err != nil {
		return errDone
	}
	s.feed(c, at, st)
	return errDone
}

// feed renders until the stream ends.
func (s *server) feed(c *call, at *url.URL, st *stream) {
	due := time.NewTimer(liveEvery)
	defer due.Stop()
	pulse := time.NewTicker(livePulse)
	defer pulse.Stop()
	for {
		select {
		case <-c.r.Context().Done():
			return
		case <-s.stopping:
			return
		case <-pulse.C:
			if st.send(":\n\n") != nil {
				return
			}
		case <-due.C:
			began := time.Now()
			status, text, err := s.fragment(c, at)
			due.Reset(min(max(liveEvery, liveShare*time.Since(began)), liveRare))
			switch {
			case err != nil:
				_ = st.send("event: end\ndata: " + err.Error() + "\n\n")
				return
			case status == http.StatusOK:
				if st.changed(text) != nil {
					return
				}
			case status < 500 && status != http.StatusTooManyRequests:
				_ = st.send("event: end\ndata:\n\n")
				return
			}
		}
	}
}

// fragment renders the live part of a page by the routes themselves: the session is
// looked up again, and the page's own handler decides what may be seen. The error is
// [errLivePart].
func (s *server) fragment(c *call, at *url.URL) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(c.r.Context(), liveTime, fmt.Errorf("rendering a live part took over %s", liveTime))
	defer cancel()
	out := &recorder{header: http.Header{}, most: maxLivePart}
	s.mux.ServeHTTP(out, requestFor(c.r.WithContext(ctx), at))
	if out.over {
		return out.status, nil, errLivePart
	}
	return out.status, out.body.Bytes(), nil
}

// requestFor is the request for a page of the console, as the client of r would make it.
func requestFor(r *http.Request, at *url.URL) *http.Request {
	r = r.Clone(r.Context())
	r.URL = &url.URL{Path: Base + at.Path, RawQuery: at.RawQuery}
	if at.RawPath != "" {
		r.URL.RawPath = Base + at.RawPath
	}
	return r
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    [sha256.Size]byte
}

func (s *stream) send(text string) error {
	if _, err := io.WriteString(s.w, text); err != nil {
		return err
	}
	return s.control.Flush()
}

// changed sends a part unless it is the same as the last one. A carriage return would end
// a line of the stream; in HTML it is white space as a line feed is.
func (s *stream) changed(text []byte) error {
	sum := sha256.Sum256(text)
	if sum == s.last {
		return nil
	}
	s.last = sum
	// Line by line, so that there is no copy of all.
	if _, err := io.WriteString(s.w, "event: live\n"); err != nil {
		return err
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		for piece := range bytes.SplitSeq(bytes.TrimSuffix(line, []byte("\r")), []byte("\r")) {
			if _, err := fmt.Fprintf(s.w, "data: %s\n", piece); err != nil {
				return err
			}
		}
	}
	return s.send("\n")
}
