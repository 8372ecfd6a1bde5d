package fanmail_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// outside is a program of another module that embeds Fanmail by one import.
const outside = `package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"os/signal"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer pool.Close()
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := fanmail.Migrate(ctx, pool); err != nil {
		return err
	}
	c, err := fanmail.New(pool, nc, fanmail.Config{AllowHTTP: true})
	if err != nil {
		return err
	}
	t, err := c.CreateTenant(ctx, "acme")
	if err != nil {
		return err
	}
	w, err := c.CreateWebhook(ctx, t.ID, fanmail.Webhook{URL: os.Getenv("HOOK"), Events: []fanmail.EventType{"email.received"}})
	if err != nil {
		return err
	}
	log.Println(w.ID, w.SigningSecret)
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, err := fanmail.Insert(ctx, tx, fanmail.Event{TenantID: t.ID, Type: "email.received", Data: json.RawMessage(` + "`{}`" + `)})
		return err
	}); err != nil {
		return err
	}
	return c.Run(ctx)
}
`

// TestAnotherModuleEmbedsFanmail builds the program above in a module of its own.
func TestAnotherModuleEmbedsFanmail(t *testing.T) {
	t.Parallel()
	require.LessOrEqual(t, strings.Count(outside, "\n"), 60)
	root, err := filepath.Abs(".")
	require.NoError(t, err)
	dir := t.TempDir()
	goMod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	requires := string(goMod[strings.Index(string(goMod), "go 1."):])
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	sums, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	write("go.mod", "module example.com/outside\n\n"+requires+
		"\nrequire github.com/fanmail-dev/fanmail v0.0.0\n\nreplace github.com/fanmail-dev/fanmail => "+root+"\n")
	write("go.sum", string(sums))
	write("main.go", outside)
	for _, args := range [][]string{{"build", "-o", filepath.Join(dir, "outside"), "."}, {"vet", "."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %s: %s", args[0], out)
	}
}
