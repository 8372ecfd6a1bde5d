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

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/test/natstest"
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
	require.Equal(t, 408, c.unfinished("GET", "/v1/webhooks", "Content-Length: 1000").StatusCode)
	require.Equal(t, 408, c.unfinished("DELETE", "/v1/agents/none@example.com", "Transfer-Encoding: chunked").StatusCode)
	require.Equal(t, 408, c.unfinished("POST", "/v1/agents", "Content-Length: 1000\r\nIdempotency-Key: k").StatusCode)
}

func TestABodyOfAnOperationThatHasNoneIsIgnoredUpToTheLimit(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.MaxBodyBytes = 1000 })
	c := w.tenant()
	c.do("GET", "/v1/webhooks", strings.Repeat("x", 1000)).want(t, 200)
	c.do("GET", "/v1/webhooks", strings.Repeat("x", 1001)).want(t, 413)
}

// The response of a poll to a client that has gone would lease a delivery to nobody.
func TestAPollEndsWithItsClientAlsoIfItHasABody(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC = nc })
	c := w.tenant()
	hook := "/v1/webhooks/" + c.pull()
	idle := nc.NumSubscriptions()
	for _, framed := range []string{"Content-Length: 4\r\n\r\nnull", "Transfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "GET %s/poll?wait=30 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n%s", hook, c.key, framed)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return nc.NumSubscriptions() == idle+2 }, 20*time.Second, time.Millisecond, "it waits")
		require.NoError(t, conn.Close())
		require.Eventually(t, func() bool { return nc.NumSubscriptions() == idle }, 20*time.Second, time.Millisecond, "it ends before its 30 s are over")
		d := c.do("POST", hook+"/test", nil).want(t, 202).text("id")
		require.Equal(t, []string{d}, c.do("GET", hook+"/poll", nil).want(t, 200).ids(t, "delivery_id"))
	}
}

// A body that breaks the framing is the client's fault, and the answer names the limits.
func TestABodyThatIsFramedBadlyIsABadRequest(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	chunked := "Transfer-Encoding: chunked\r\n\r\n"
	for name, rest := range map[string]string{
		"a long extension":  chunked + "1;" + strings.Repeat("x", 6000) + "\r\n{\r\n0\r\n\r\n",
		"many extensions":   chunked + strings.Repeat("1;"+strings.Repeat("x", 1000)+"\r\n \r\n", 40) + "0\r\n\r\n",
		"no size":           chunked + "zz\r\n{}\r\n0\r\n\r\n",
		"a chunk too short": chunked + "5\r\n{}\r\n0\r\n\r\n",
		"an early end":      "Content-Length: 1000\r\n\r\n{}",
		"no last chunk":     chunked + "2\r\n{}\r\n",
	} {
		for _, key := range []string{"", "Idempotency-Key: " + strings.ReplaceAll(name, " ", "-") + "\r\n"} {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
			_, err = fmt.Fprintf(conn, "POST /v1/agents HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n%s%s", c.key, key, rest)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err, name)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err, name)
			require.NoError(t, resp.Body.Close())
			require.NoError(t, conn.Close())
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, "%s: %s", name, text)
			require.Contains(t, string(text), "4096 bytes for the line before a chunk")
		}
	}
}
