package api_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/blobs"
)

// intoStore moves the raw mails of the database into the store, each under a key of its own.
func intoStore(t *testing.T, w *world, store blobs.Store) (key string) {
	t.Helper()
	var raw []byte
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT raw FROM fanmail.message_raws`).Scan(&raw))
	sum := sha256.Sum256(raw)
	key = fmt.Sprintf("raw/2026-01-02/%x", sum[:16])
	require.NoError(t, store.Put(t.Context(), key, blobs.Bytes(raw)))
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.message_raws SET raw = NULL, blob = $1, sha256 = $2`, key, sum[:])
	require.NoError(t, err)
	return key
}

func TestMessagesInTheBlobStoreAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := blobs.NewFolder(dir)
	w := start(t, func(o *api.Options) { o.Blobs = store })
	c := w.tenant()
	evID := c.do("POST", "/v1/events", `{"type":"email.received","data":{}}`).want(t, 202).text("id")
	mail := fmt.Appendf(nil, parcel, strings.Repeat("0123456789abcdef\r\n", 40_000))
	at := "/v1/messages/" + insertMessage(context.Background(), t, w, c, evID, mail)
	key := intoStore(t, w, store)
	require.Equal(t, mail, c.do("GET", at+"/raw", nil).want(t, 200).raw)
	require.Equal(t, "hello", string(c.do("GET", at+"/attachments/0", nil).want(t, 200).raw))

	path := filepath.Join(dir, key)
	require.NoError(t, os.WriteFile(path, append([]byte("X"), mail[1:]...), 0o600))
	require.Contains(t, c.do("GET", at+"/attachments/0", nil).want(t, 502).text("detail"), key)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+at+"/raw", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+c.key)
	answer, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_, err = io.ReadAll(answer.Body)
	require.Error(t, err, "what is not the mail does not arrive as a whole")
	require.NoError(t, answer.Body.Close())

	require.NoError(t, os.Remove(path))
	for _, read := range []string{"/raw", "/attachments/0"} {
		detail := c.do("GET", at+read, nil).want(t, 502).text("detail")
		require.Contains(t, detail, key)
		require.Contains(t, detail, "deleted")
	}
	require.EqualValues(t, len(mail), c.do("GET", at, nil).want(t, 200).json["size"], "the rest of the message is there")
	require.NoError(t, os.RemoveAll(dir))
	require.Contains(t, c.do("GET", at+"/raw", nil).want(t, 503).text("detail"), "try again later")
}

func TestAMessageInABlobStoreThatTheServerLacksIsA503(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	evID := c.do("POST", "/v1/events", `{"type":"email.received","data":{}}`).want(t, 202).text("id")
	at := "/v1/messages/" + insertMessage(context.Background(), t, w, c, evID, []byte("Subject: x\r\n\r\n"))
	intoStore(t, w, blobs.NewFolder(t.TempDir()))
	c.do("GET", at+"/raw", nil).want(t, 503)
	c.do("GET", at+"/attachments/0", nil).want(t, 503)
}
