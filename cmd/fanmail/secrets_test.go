package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

const marker = "s3cretmark3r"

// brokenPasswords are passwords that a URL or a connection string breaks at.
func brokenPasswords() []string {
	var out []string
	for _, c := range []string{
		"/", "?", "#", "%", "%1", "%zz", "@", ":", "[", "]", "[::1]", " ", "'", `"`, `\`, "&", "=", " a=", ";", ",", "\t", "\n", "\r\n", "\x00",
		"\x7f", "ü", "\xff", "${HOME}", "`", "<", ">", "|", "^", "://", "//", "@b/", "@127.0.0.1:1/", "?sslmode=", "#%",
	} {
		out = append(out, marker+c, c+marker, "1"+c+marker)
	}
	return out
}

// templates are values of each setting that holds a secret, with %s for the password. Their hosts answer nothing.
var templates = map[string][]string{
	"database-url": {
		"postgres://fan:%s@127.0.0.1:1/db", "postgresql://fan:%s@127.0.0.1:1/db", "postgres//fan:%s@127.0.0.1:1/db",
		"postgres:fan:%s@127.0.0.1:1", "fan:%s@127.0.0.1:1/db", "postgres://127.0.0.1:1/db?password=%s", "postgres://127.0.0.1:1/db?sslpassword=%s&user=fan",
		"host=127.0.0.1 port=1 user=fan password=%s dbname=db", "host=127.0.0.1 port=1 password='%s dbname=db", "host=127.0.0.1 port=1 password='a' %s",
		"host=127.0.0.1 port=1 passwrd=%s", "%s",
	},
	"from": {
		"postgres://fan:%s@127.0.0.1:1/db", "postgres//fan:%s@127.0.0.1:1/db", "fan:%s@127.0.0.1:1/db", "host=127.0.0.1 port=1 user=fan password=%s dbname=db", "%s",
	},
	"nats-url": {"nats://fan:%s@127.0.0.1:1", "nats://%s@127.0.0.1:1", "tls://fan:%s@127.0.0.1:1,nats://fan:%s@127.0.0.1:2", "fan:%s@127.0.0.1:1", "nats//fan:%s@h", "%s"},
	"proxy":    {"http://fan:%s@127.0.0.1:1", "socks5://fan:%s@127.0.0.1:1", "ftp://fan:%s@127.0.0.1:1", "http//fan:%s@h", "fan:%s@127.0.0.1", "%s"},
	"api":      {"http://fan:%s@127.0.0.1:1", "https://fan:%s@127.0.0.1:1/", "http//fan:%s@127.0.0.1", "fan:%s@127.0.0.1", "%s"},
	"key":      {"%s", "fm_%s"},

	"oidc-client-secret": {"%s"},
	"alert-relay":        {"smtp://fan:%s@127.0.0.1:1", "smtps://fan:%s@127.0.0.1:1", "smtp://%s@127.0.0.1:1", "smtp//fan:%s@h", "fan:%s@127.0.0.1", "smtp://127.0.0.1:1?tls=%s", "%s"},
	"blobs": {
		"s3://fan:%s@bucket?endpoint=http://127.0.0.1:1", "s3://%s@bucket", "s3://%s:x@bucket/prefix", "s3//fan:%s@bucket", "s3:fan:%s@bucket", "fan:%s@bucket", "%s",
		"s3://bucket?secret=%s", "s3://bucket?%s", "s3://bucket?endpoint=http://fan:%s@127.0.0.1:1", "s3://bucket?endpoint=%s", "s3://bucket?region=%s&endpoint=http://127.0.0.1:1",
		"gs://%s@bucket", "file://%s/dir", "file://fan:%s@/dir", "file:%s",
	},

	"secrets-key": {"%s", "file:%s", "kms://%s", "hcvault://%s", "aws-kms://%s", `{"primaryKeyId":1,"key":[{"keyData":"%s"}]}`, `{"primaryKeyId":"%s"}`, "sealed:v1:%s"},
}

// secretFlags returns the names of a node's flags that hold a secret.
func secretFlags(flags []*kong.Flag) []string {
	var out []string
	for _, f := range flags {
		if f.Target.Type() == reflect.TypeFor[secret.Text]() {
			out = append(out, f.Name)
		}
	}
	return out
}

// TestNoBrokenSettingIsPrinted gives each setting that holds a secret to each command, in many shapes that do not parse or
// that parse wrongly, by flag and by environment.
func TestNoBrokenSettingIsPrinted(t *testing.T) {
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	before := os.Stderr
	os.Stderr = stderr // of loggers
	t.Cleanup(func() { os.Stderr = before })
	ended, cancel := context.WithCancel(t.Context())
	cancel() // what parses is tried once
	k, err := kong.New(&cli{}, kong.Vars{"version": ""})
	require.NoError(t, err)
	tried := map[string]int{}
	dir := t.TempDir()
	commands := k.Model.Leaves(true)
	with := map[string]int{} // how many commands have a flag
	for _, command := range commands {
		for _, flag := range secretFlags(command.Flags) {
			with[flag]++
		}
	}
	for _, command := range commands {
		args := append(strings.Fields(strings.TrimPrefix(command.FullPath(), k.Model.Name+" ")), required(command)...)
		for _, flag := range secretFlags(command.Flags) {
			for i, value := range share(shapes(t, flag, 1), with[flag], tried[flag]) {
				var out bytes.Buffer
				s := &session{in: strings.NewReader(""), out: &out, err: &out}
				line := append([]string{"--dir", dir}, args...)
				line = append(line, closed(command, flag)...)
				if i%2 == 0 || strings.Contains(value, "\x00") {
					line = append(line, "--"+flag+"="+value)
				} else {
					t.Setenv(envOf(command, flag), value)
				}
				run(ended, line, s)
				require.NoError(t, os.Unsetenv(envOf(command, flag)))
				require.NotContains(t, out.String(), marker, "%s --%s=%q", command.FullPath(), flag, value)
				tried[flag]++
			}
		}
	}
	logged, err := os.ReadFile(stderr.Name())
	require.NoError(t, err)
	require.NotContains(t, string(logged), marker)
	for flag := range templates {
		if flag != "proxy" && flag != "oidc-client-secret" { // of cmd/dispatcher and of cmd/api alone
			require.Greater(t, tried[flag], 40, flag)
		}
	}
}

// share returns the values that one command tries of a flag, after those that other commands have tried: three, or more if
// few commands have the flag, so that an eighth of all values is tried. The same code parses them for every command.
func share(values []string, commands, tried int) []string {
	mixed := slices.Clone(values)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	mine := max(3, len(mixed)/8/commands)
	from := tried % (len(mixed) - mine)
	return mixed[from : from+mine]
}

// shapes returns the values to try, one of every so many.
func shapes(t *testing.T, flag string, every int) []string {
	t.Helper()
	require.NotEmpty(t, templates[flag], "add values of --%s", flag)
	var out []string
	for i, password := range brokenPasswords() {
		for j, template := range templates[flag] {
			if (i+j)%every != 0 {
				continue
			}
			out = append(out, strings.ReplaceAll(template, "%s", password))
		}
	}
	return out
}

// required returns values of the arguments and flags that a command requires.
func required(command *kong.Node) []string {
	var out []string
	for _, p := range command.Positional {
		if p.Required {
			out = append(out, "1")
		}
	}
	for _, f := range command.Flags {
		if f.Required {
			out = append(out, "--"+f.Name+"=1")
		}
	}
	return out
}

// closed returns flags with addresses where nothing answers, for the settings of a command besides flag.
func closed(command *kong.Node, flag string) []string {
	var out []string
	for _, f := range command.Flags {
		if f.Name == flag {
			continue
		}
		switch f.Name {
		case "database-url":
			out = append(out, "--database-url=postgres://fan@127.0.0.1:1/db")
		case "from":
			out = append(out, "--from=postgres://fan@127.0.0.1:1/db")
		case "nats-url":
			out = append(out, "--nats-url=nats://127.0.0.1:1")
		case "api", "smtp":
			if f.Target.Type() == reflect.TypeFor[secret.Text]() {
				out = append(out, "--api=http://127.0.0.1:1")
			} else {
				out = append(out, "--"+f.Name+"=127.0.0.1:0")
			}
		case "key":
			out = append(out, "--key=k")
		}
	}
	return out
}

func envOf(command *kong.Node, flag string) string {
	for _, f := range command.Flags {
		if f.Name == flag && len(f.Envs) > 0 {
			return f.Envs[0]
		}
	}
	return "FANMAIL_ABSENT"
}

func TestNoBrokenSettingOfAProcessIsPrinted(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	whole := map[string]string{"database-url": "postgres://fan@127.0.0.1:1/db", "nats-url": "nats://127.0.0.1:1"}
	for flag := range templates {
		if flag == "api" || flag == "key" || flag == "from" {
			continue
		}
		for _, value := range shapes(t, flag, 3) {
			var args []string
			for name, good := range whole {
				if name != flag {
					args = append(args, "--"+name+"="+good)
				}
			}
			c, err := app.Parse[app.DispatcherConfig](append(args, "--http-addr=off", "--"+flag+"="+value), "dispatcher", "", "off")
			if err == nil {
				err = app.RunDispatcher(ended, c, zap.NewNop())
			}
			require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, c, c), marker, "--%s=%q", flag, value)
		}
	}
}
