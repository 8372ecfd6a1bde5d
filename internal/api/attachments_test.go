package api_test

import (
	"context"
	"fmt"
	"mime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const parcel = "From: x@example.org\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n" +
	"--m\r\nContent-Type: text/plain\r\n\r\nHello\r\n" +
	"--m\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename=\"..\\\\..\\\\caf=C3=A9/logo.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n" +
	"--m\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n<script>alert(1)</script>\r\n" +
	"--m\r\nContent-Type: application/x; name=\"=?utf-8?q?Gr=C3=BC=C3=9Fe=E2=80=AEfdp.exe?=\"\r\nContent-Disposition: attachment\r\n\r\n%s--m--\r\n"

func TestAttachmentsAreFetchedByTheirLinks(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	evID := c.do("POST", "/v1/events", `{"type":"email.received","data":{}}`).want(t, 202).text("id")
	long := strings.Repeat("0123456789abcdef\r\n", 40_000) // three chunks
	msg := insertMessage(ctx, t, w, c, evID, fmt.Appendf(nil, parcel, long))
	at := "/v1/messages/" + msg + "/attachments/"

	png := c.do("GET", at+"0", nil).want(t, 200)
	require.Equal(t, "hello", string(png.raw))
	require.Equal(t, "image/png", png.header.Get("Content-Type"))
	require.Equal(t, "nosniff", png.header.Get("X-Content-Type-Options"))
	require.Equal(t, "sandbox", png.header.Get("Content-Security-Policy"))
	kind, params, err := mime.ParseMediaType(png.header.Get("Content-Disposition"))
	require.NoError(t, err)
	require.Equal(t, "attachment", kind)
	require.Equal(t, "logo.png", params["filename"], "no path")

	html := c.do("GET", at+"1", nil).want(t, 200)
	require.Equal(t, "application/octet-stream", html.header.Get("Content-Type"))
	require.Contains(t, string(html.raw), "<script>")
	_, params, err = mime.ParseMediaType(html.header.Get("Content-Disposition"))
	require.NoError(t, err)
	require.Equal(t, "attachment-1", params["filename"])

	big := c.do("GET", at+"2", nil).want(t, 200)
	require.Equal(t, strings.TrimSpace(long), strings.TrimSpace(string(big.raw)))
	_, params, err = mime.ParseMediaType(big.header.Get("Content-Disposition"))
	require.NoError(t, err)
	require.Equal(t, "Grüßefdp.exe", params["filename"], "no character reverses the text's direction")

	require.Contains(t, c.do("GET", at+"3", nil).want(t, 404).text("detail"), "no such attachment")
	c.do("GET", at+"-1", nil).want(t, 422)
	other.do("GET", at+"0", nil).want(t, 404)
	_, err = w.pool.Exec(ctx, `DELETE FROM fanmail.message_raws`)
	require.NoError(t, err)
	c.do("GET", at+"0", nil).want(t, 404)
}
