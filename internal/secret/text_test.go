package secret_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

func TestATextIsNeverPrinted(t *testing.T) {
	t.Parallel()
	text := secret.Text("hunter2")
	holder := struct {
		Text secret.Text
		List []secret.Text
	}{text, []secret.Text{text}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.NotContains(t, fmt.Sprintf(verb+verb, text, holder), "hunter2", verb)
		require.NotContains(t, fmt.Sprintf(verb, text), "68756e", "hexadecimal")
	}
	b, err := json.Marshal(map[string]any{"one": text, "many": holder})
	require.NoError(t, err)
	require.NotContains(t, string(b), "hunter2")
	line, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(zapcore.Entry{},
		[]zap.Field{zap.Any("a", text), zap.Any("b", holder), zap.Stringer("c", text), zap.Reflect("d", text)})
	require.NoError(t, err)
	require.NotContains(t, line.String(), "hunter2")
	require.Equal(t, "hunter2", text.Reveal())
}

func TestAURLWhosePasswordBecameAnotherPartIsRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"nats://fan:5/hunter2@host:4222", "nats://fan:5?hunter2@host", "nats://fan:5#hunter2@host", "nats://fan:p@5/hunter2@host",
		"nats://fan%3Ahunter2@host", "nats:fan:hunter2@host", "http://fan:hunter2@host", "fan:hunter2@host", "nats://fan:hunter2%1@host", "nats://host/#hunter2", "",
	} {
		_, err := secret.Text(bad).URL("nats", "tls")
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "hunter2")
	}
	u, err := secret.Text("nats://fan:p%2F%40@host:4222").URL("nats")
	require.NoError(t, err)
	password, _ := u.User.Password()
	require.Equal(t, "p/@", password)
}

func TestMaskHidesWhatLooksLikeASecret(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"unexpected argument postgres://fan:hunter2@host/db", "x nats://hunter2@host,nats://fan:p@hunter2@host y", "unexpected argument password=hunter2",
		"password = 'a hunter2' host=x", "sslpassword=hunter2", "key fm_hunter2", "secret whsec_hunter2==",
	} {
		require.NotContains(t, secret.Mask(line), "hunter2", line)
	}
	require.Equal(t, "dial tcp 127.0.0.1:1: mail to a@b", secret.Mask("dial tcp 127.0.0.1:1: mail to a@b"))
}

func FuzzURL(f *testing.F) {
	f.Add("nats://fan:%s@host", "p/@#")
	f.Fuzz(func(t *testing.T, before, after string) {
		text := before + "s3cretmark3r" + after
		if _, err := secret.Text(text).URL("nats", "http"); err != nil {
			require.NotContains(t, err.Error(), "s3cretmark3r")
		}
	})
}
