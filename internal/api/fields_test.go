package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFieldsAreReadInFull(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	evID := c.do("POST", "/v1/events", `{"type":"email.received","data":{}}`).want(t, 202).text("id")
	text := strings.Repeat("0123456789 <b> & \u00fcmlaut\r\n", 40_000) // more than the parser reads for an event
	raw := "From: Ann <ann@example.org>\r\nSubject: hi\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text +
		"--m\r\nContent-Type: image/png; name=a.png\r\n\r\nx\r\n--m--\r\n"
	msg := insertMessage(t.Context(), t, w, c, evID, []byte(raw))
	at := "/v1/messages/" + msg + "/fields/"

	got := c.do("GET", at+"text", nil).want(t, 200)
	require.Equal(t, strings.Fields(text), strings.Fields(string(got.raw)))
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
	require.Equal(t, "sandbox", got.header.Get("Content-Security-Policy"))
	require.Equal(t, `attachment; filename="text.txt"`, got.header.Get("Content-Disposition"))
	from := c.do("GET", at+"from", nil).want(t, 200)
	require.Equal(t, "application/json", from.header.Get("Content-Type"))
	require.JSONEq(t, `[{"name":"Ann","address":"ann@example.org"}]`, string(from.raw))
	require.Contains(t, string(c.do("GET", at+"attachments", nil).want(t, 200).raw), `"/v1/messages/`+msg+`/attachments/0"`)
	require.Empty(t, c.do("GET", at+"html", nil).want(t, 200).raw)

	require.Contains(t, c.do("GET", at+"bounce", nil).want(t, 404).text("detail"), "no such field")
	for _, none := range []string{"milters", "nothing", "raw"} {
		c.do("GET", at+none, nil).want(t, 422).names(t, "path.field")
	}
	other.do("GET", at+"text", nil).want(t, 404)
	_, err := w.pool.Exec(t.Context(), `DELETE FROM fanmail.message_raws`)
	require.NoError(t, err)
	c.do("GET", at+"text", nil).want(t, 404)
}
