package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestReceiverAnswersByItsMoodAndRecordsAll(t *testing.T) {
	t.Parallel()
	r, path := recorder(t)
	recv, err := startReceiver(t.Context(), r.history, r.now)
	require.NoError(t, err)
	secret := signature.NewSecret()
	e := &endpoint{
		id: "wh_1", secret: secret, delay: func() time.Duration { return 0 },
		stumble: func(token string, attempt int) bool { return token == "clumsy" && attempt == 1 },
	}
	recv.add("hook", e)
	signer, err := signature.NewSigner(secret)
	require.NoError(t, err)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	post := func(path, token string) (int, error) {
		body := `{"data": {"subject": "` + token + `"}}`
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, recv.base+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set(sink.HeaderAttempt, "1")
		signer.Sign(req.Header, "evt_1", time.Now(), []byte(body))
		resp, err := client.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	type seen struct {
		hook, token string
		status      int
		signed      bool
	}
	var want []seen
	for _, c := range []struct {
		path, mood, token string
		status            int
	}{
		{"hook", fine, "t1", 200},
		{"hook", fine, "clumsy", 500},
		{"hook", refusing, "t2", 500},
		{"hook", redirect, "t3", 302},
		{"hook", resets, "t4", 0},
		{"hook", garbage, "t5", 0},
		{"hook", endless, "t6", 200},
	} {
		e.turn(c.mood)
		got, err := post(c.path, c.token)
		require.Equal(t, c.status, got, c.mood)
		require.Equal(t, c.status == 0, err != nil, c.mood)
		want = append(want, seen{"wh_1", c.token, c.status, true})
	}
	e.turn(hanging)
	answered := make(chan int, 1)
	go func() {
		got, _ := post("hook", "t7")
		answered <- got
	}()
	select {
	case <-answered:
		t.Fatal("a hanging endpoint answered")
	case <-time.After(50 * time.Millisecond): // the request may not have arrived; then this proves less
	}
	e.turn(fine)
	require.Equal(t, 200, <-answered)
	want = append(want, seen{"wh_1", "t7", 200, true})
	e.secret = signature.NewSecret()
	_, err = post("hook", "t8")
	require.NoError(t, err)
	_, err = post("elsewhere", "t9")
	require.NoError(t, err)
	want = append(want, seen{"wh_1", "t8", 200, false}, seen{"", "t9", 0, false})

	recv.close()
	require.NoError(t, r.history.Close())
	records, err := history.Read(path)
	require.NoError(t, err)
	var got []seen
	for _, rec := range records {
		require.GreaterOrEqual(t, rec.Post.End, rec.Post.Start)
		require.Len(t, rec.Post.Body, 64)
		got = append(got, seen{rec.Post.Hook, rec.Post.Token, rec.Post.Status, rec.Post.Signed})
	}
	require.Equal(t, want, got)
}
