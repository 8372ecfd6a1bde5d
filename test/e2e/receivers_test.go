//go:build receivers

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/process"
)

// packages say how the programs of docs/how-to/receive-webhooks.md are run that use a package of receivers/.
var packages = map[string]func(t *testing.T, dir string, source []byte) (bin string, args []string){
	"go": func(t *testing.T, dir string, source []byte) (string, []string) {
		t.Helper()
		return compiled(t, dir, source, "receivers/go", "go 1.23")
	},
	"js": func(t *testing.T, dir string, source []byte) (string, []string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "node_modules/@fanmail-dev"), 0o700))
		return interpreted(t, dir, "receiver.mjs", source, "node", "receivers/typescript", "node_modules/@fanmail-dev/receiver")
	},
	"python": func(t *testing.T, dir string, source []byte) (string, []string) {
		t.Helper()
		return interpreted(t, dir, "receiver.py", source, "python3", "receivers/python/src/fanmail_receiver", "fanmail_receiver")
	},
}

// compiled builds a program that uses one of our modules alone.
func compiled(t *testing.T, dir string, source []byte, pkg, goLine string) (string, []string) {
	t.Helper()
	root, err := process.Root()
	require.NoError(t, err)
	root = filepath.Join(root, pkg)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	module := "github.com/fanmail-dev/fanmail/" + pkg
	return buildProgram(t, dir, source, sums, goLine+"\n\nrequire "+module+" v0.0.0\n\nreplace "+module+" => "+root+"\n"), nil
}

// interpreted writes a program into a folder, in which a link leads to its package.
func interpreted(t *testing.T, dir, name string, source []byte, interpreter, pkg, link string) (string, []string) {
	t.Helper()
	root, err := process.Root()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(filepath.Join(root, pkg), filepath.Join(dir, link)))
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, source, 0o600))
	bin, err := exec.LookPath(interpreter)
	require.NoError(t, err)
	return bin, []string{file}
}

// TestTheReceiversWithPackagesReceive runs each program as it stands in the page: against forged requests, and against a
// running Fanmail.
func TestTheReceiversWithPackagesReceive(t *testing.T) {
	t.Parallel()
	packaged, _ := receivingPrograms(t)
	require.Len(t, packaged, len(packages))
	fanmail := startUp(t)
	for _, p := range packaged {
		t.Run(p.language, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bin, args := packages[p.language](t, dir, p.source)
			t.Run("forged", func(t *testing.T) {
				t.Parallel()
				receives(t, dir, bin, args)
			})
			t.Run("from Fanmail", func(t *testing.T) {
				t.Parallel()
				fanmail.sendsTo(t, p.language, bin, args)
			})
		})
	}
}

// callers say how the programs of docs/how-to/call-the-api.md are run.
var callers = map[string]func(t *testing.T, dir string, source []byte) (bin string, args []string){
	"go": func(t *testing.T, dir string, source []byte) (string, []string) {
		t.Helper()
		return compiled(t, dir, source, "clients/go", "go 1.24")
	},
	"js": func(t *testing.T, dir string, source []byte) (string, []string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "node_modules/@fanmail-dev"), 0o700))
		return interpreted(t, dir, "caller.mjs", source, "node", "clients/typescript", "node_modules/@fanmail-dev/api")
	},
}

// TestTheProgramsThatCallTheAPI runs each program of docs/how-to/call-the-api.md as it stands, and reads what it did.
func TestTheProgramsThatCallTheAPI(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/call-the-api.md")
	require.NoError(t, err)
	programs := programsIn(page)
	require.Len(t, programs, len(callers))
	fanmail := startUp(t)
	for _, p := range programs {
		t.Run(p.language, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bin, args := callers[p.language](t, dir, p.source)
			run := exec.CommandContext(t.Context(), bin, args...)
			run.Env = append(os.Environ(), "FANMAIL_API="+fanmail.API, "FANMAIL_KEY="+fanmail.TenantKey)
			out, err := run.CombinedOutput()
			require.NoError(t, err, "%s", out)
			said := regexp.MustCompile(`^webhook: (wh_\w+)\ndescription: ""\nevent: (evt_\w+)\nerror: .*(body\.type|type).*\n$`).FindSubmatch(out)
			require.NotNil(t, said, "%s", out)
			tenant := &apiclient.Client{Base: fanmail.API, Key: fanmail.TenantKey}
			var webhook struct {
				Description string
				Events      []string
			}
			require.NoError(t, tenant.Do(t.Context(), http.MethodGet, "/v1/webhooks/"+string(said[1]), nil, nil, &webhook))
			require.Empty(t, webhook.Description)
			require.Equal(t, []string{"email.sent"}, webhook.Events)
			var event struct{ Type string }
			require.NoError(t, tenant.Do(t.Context(), http.MethodGet, "/v1/events/"+string(said[2]), nil, nil, &event))
			require.Equal(t, "email.sent", event.Type)
		})
	}
}

// onePlace is a running `fanmail up`.
type onePlace struct {
	app.Credentials
	operator *apiclient.Client
}

// startUp starts the `fanmail up` that `make build` has built. It ends with the test.
func startUp(t *testing.T) *onePlace {
	t.Helper()
	dir, addr := openDir(t), freeAddr(t)
	data := filepath.Join(dir, "data")
	p, err := process.Start(t.Context(), process.Spec{
		Name: "up", Bin: "../../bin/fanmail", Logs: dir, Ready: "http://" + addr + "/healthz",
		Args: []string{"--dir", data, "up", "--api", addr, "--smtp", "127.0.0.1:0"},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the output of fanmail up ends:\n%s", p.Tail(30))
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		require.NoError(t, p.Stop(ctx))
	})
	o := &onePlace{}
	require.Eventually(t, func() bool {
		o.Credentials, err = app.ReadCredentials(data)
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	o.operator = &apiclient.Client{Base: o.API, Key: o.OperatorKey}
	return o
}

// sendsTo sends mails to a receiver: before, during and after a rotation of its secret. Then the receiver has another
// secret, and refuses the next one.
func (o *onePlace) sendsTo(t *testing.T, name, bin string, args []string) {
	t.Helper()
	do := func(c *apiclient.Client, method, path string, in, out any) {
		t.Helper()
		require.NoError(t, c.Do(t.Context(), method, path, nil, in, out), "%s %s", method, path)
	}
	var made struct{ ID, Secret string }
	do(o.operator, http.MethodPost, "/v1/tenants", map[string]any{"name": name}, &made)
	domain := name + ".example"
	do(o.operator, http.MethodPost, "/v1/domains", map[string]any{"tenant_id": made.ID, "domain": domain}, nil)
	do(o.operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": made.ID}, &made)
	tenant, agent := &apiclient.Client{Base: o.API, Key: made.Secret}, "robot@"+domain
	do(tenant, http.MethodPost, "/v1/agents", map[string]any{"address": agent}, nil)

	addr, first := freeAddr(t), signature.NewSecret()
	var webhook struct{ ID string }
	do(tenant, http.MethodPost, "/v1/webhooks", map[string]any{
		"url": "http://" + addr + "/", "events": []string{"email.received"}, "signing_secret": first,
	}, &webhook)
	mail := func(subject string) {
		t.Helper()
		require.NoError(t, smtp.SendMail(o.SMTP, nil, "ada@example.net", []string{agent},
			fmt.Appendf(nil, "From: ada@example.net\r\nTo: %s\r\nSubject: %s\r\n\r\nGood morning.\r\n", agent, subject)))
	}
	prints := func(p *process.Process, subject string) {
		t.Helper()
		require.Eventually(t, func() bool {
			line := "email.received " + subject
			return strings.Contains(p.Tail(100), line)
		}, time.Minute, 20*time.Millisecond, "%s is not printed: %s", subject, p.Tail(20))
	}

	p := startReceiver(t, addr, first, bin, args)
	mail("Where is my order?")
	prints(p, "Where is my order?")
	var rotated struct {
		SigningSecret string `json:"signing_secret"`
	}
	do(tenant, http.MethodPost, "/v1/webhooks/"+webhook.ID+"/rotate-secret", nil, &rotated)
	mail("With the old secret")
	prints(p, "With the old secret")
	p.Kill()
	p = startReceiver(t, addr, rotated.SigningSecret, bin, args)
	mail("With the new secret")
	prints(p, "With the new secret")
	p.Kill()
	p = startReceiver(t, addr, signature.NewSecret(), bin, args)
	mail("With another secret")
	var found struct {
		Data []struct {
			LastStatusCode int `json:"last_status_code"`
		}
	}
	require.Eventually(t, func() bool {
		require.NoError(t, tenant.Do(t.Context(), http.MethodGet, "/v1/webhooks/"+webhook.ID+"/deliveries", url.Values{"limit": {"1"}}, nil, &found))
		return len(found.Data) == 1 && found.Data[0].LastStatusCode == http.StatusUnauthorized
	}, time.Minute, 20*time.Millisecond, "the delivery is %+v", &found)
	require.NotContains(t, p.Tail(100), "With another secret")
}

// startReceiver starts a receiver with a log of its own; it ends with the test.
func startReceiver(t *testing.T, addr, secret, bin string, args []string) *process.Process {
	t.Helper()
	p, err := process.Start(t.Context(), process.Spec{
		Name: "receiver", Bin: bin, Args: args, Logs: t.TempDir(), Ready: addr, Env: []string{"WEBHOOK_SECRET=" + secret, "LISTEN=" + addr},
	})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p
}
