package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	receiver "github.com/fanmail-dev/fanmail/receivers/go"
)

func TestMemoryRemembersTheNewest(t *testing.T) {
	t.Parallel()
	m, ctx := receiver.NewMemory(3), context.Background()
	begin := func(id string, want receiver.State) {
		t.Helper()
		if state, err := m.Begin(ctx, id); state != want || err != nil {
			t.Fatalf("%s: %v, %v, not %v", id, state, err, want)
		}
	}
	handle := func(id string) {
		t.Helper()
		begin(id, receiver.Fresh)
		begin(id, receiver.Busy)
		if err := m.End(ctx, id, true); err != nil {
			t.Fatal(err)
		}
		begin(id, receiver.Done)
	}
	begin("busy", receiver.Fresh)
	for i := range 100 {
		handle(fmt.Sprint(i))
	}
	begin("97", receiver.Done)
	begin("96", receiver.Fresh)
	begin("busy", receiver.Busy) // however many are handled meanwhile
	if err := m.End(ctx, "busy", false); err != nil {
		t.Fatal(err)
	}
	begin("busy", receiver.Fresh)
}

func TestSecretsAreChecked(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{nil, {""}, {secret, ""}, {"whpk_AAAA"}, {"whsk_AAAA"}} {
		_, err := receiver.New(receiver.Config{Secrets: secrets})
		if !errors.Is(err, receiver.ErrSecret) || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%d secrets: %v", len(secrets), err)
		}
	}
}
