package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unfinished sends the headers of a request that announces a body, and sends no
// byte of it. It returns the response. The server must have closed the
// connection after it.
func (c client) unfinished(method, path, framing string) *http.Response {
	c.w.t.Helper()
	addr := strings.TrimPrefix(c.w.url, "http://")
	conn, err := net.Dial("tcp", addr)
	require.NoError(c.w.t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(c.w.t, conn.SetDeadline(time.Now().Add(time.Minute)))
	authorization := ""
	if c.key != "" {
		authorization = "Authorization: Bearer " + c.key + "\r\n"
	}
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%s%s\r\n\r\n", method, path, addr, authorization, framing)
	require.NoError(c.w.t, err)
	read := bufio.NewReader(conn)
	resp, err := http.ReadResponse(read, nil)
	require.NoError(c.w.t, err)
	_, err = io.ReadAll(resp.Body)
	require.NoError(c.w.t, err)
	require.NoError(c.w.t, resp.Body.Close())
	_, err = read.ReadByte()
	require.ErrorIs(c.w.t, err, io.EOF, "the connection is closed")
	return resp
}

// Every response here comes although the body never does.
func TestARefusalWaitsForNoBodyAndClosesTheConnection(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	nobody, wrong := client{w: w}, client{w: w, key: "fm_wrong"}
	for _, framing := range []string{"Content-Length: 1000", "Content-Length: 100000000", "Transfer-Encoding: chunked", "Content-Length: 1000\r\nExpect: 100-continue"} {
		for _, r := range []struct {
			from         client
			method, path string
			want         int
		}{
			{nobody, "POST", "/v1/webhooks", 401},
			{nobody, "GET", "/v1/webhooks", 401},
			{wrong, "POST", "/v1/events", 401},
			{wrong, "PATCH", "/v1/webhooks/wh_x", 401},
			{w.operator, "POST", "/v1/webhooks", 403},
			{c, "POST", "/v1/tenants", 403},
			{c, "POST", "/v1/nothing", 404},
			{c, "PUT", "/v1/webhooks", 405},
			{c, "GET", "/v1/webhooks", 200},
			{c, "DELETE", "/v1/agents/none@example.com", 404},
			{nobody, "GET", "/healthz", 200},
			{nobody, "GET", "/openapi.json", 200},
		} {
			require.Equal(t, r.want, r.from.unfinished(r.method, r.path, framing).StatusCode, "%s %s, %s", r.method, r.path, framing)
		}
	}
}

func TestABodyThatDoesNotComeIsARequestTimeout(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for _, path := range []string{"/v1/webhooks", "/v1/events"} {
		require.Equal(t, 408, c.unfinished("POST", path, "Content-Length: 1000").StatusCode)
	}
	require.Equal(t, 408, c.unfinished("POST", "/v1/agents", "Content-Length: 1000\r\nIdempotency-Key: k").StatusCode)
}
