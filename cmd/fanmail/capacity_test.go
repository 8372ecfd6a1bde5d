package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCapacityIsPrinted(t *testing.T) {
	t.Parallel()
	out, code := fanmail(t, t.TempDir(), "", "capacity", "--events", "1000", "--fan-out", "3")
	require.Zero(t, code, out)
	require.Contains(t, out, "3000 deliveries/s")
	require.Contains(t, out, "what saturates first")

	out, code = fanmail(t, t.TempDir(), "", "capacity", "--events", "1000", "--json")
	require.Zero(t, code, out)
	var got struct {
		Plan struct {
			Dispatchers int `json:"dispatchers"`
			Limits      []struct{ Resource string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Positive(t, got.Plan.Dispatchers)
	require.NotEmpty(t, got.Plan.Limits)

	out, code = fanmail(t, t.TempDir(), "", "capacity", "--events", "0")
	require.Equal(t, 1, code)
	require.Contains(t, out, "events a second is 0; it must be above zero")
	file := filepath.Join(t.TempDir(), "latest.json")
	require.NoError(t, os.WriteFile(file, []byte("[]"), 0o600))
	out, code = fanmail(t, t.TempDir(), "", "capacity", "--bench", file)
	require.Equal(t, 1, code)
	require.Contains(t, out, "W1 and W2 of fanmail are needed")
}

func TestTenantsArePlaced(t *testing.T) {
	t.Parallel()
	list := "# id load pin\nten_1\nten_2 50\n\nten_3 7 b\n"
	out, code := fanmail(t, t.TempDir(), list, "capacity", "place", "--database", "a,b=2", "--json")
	require.Zero(t, code, out)
	var got struct {
		Tenants []struct {
			Tenant, Database string
			Load             float64
		}
		Databases []struct{ Tenants int }
	}
	require.NoError(t, json.NewDecoder(strings.NewReader(out)).Decode(&got))
	require.Len(t, got.Tenants, 3)
	require.Equal(t, "b", got.Tenants[2].Database)
	require.InDelta(t, 50, got.Tenants[1].Load, 0)
	require.Equal(t, 3, got.Databases[0].Tenants+got.Databases[1].Tenants)

	out, code = fanmail(t, t.TempDir(), list, "capacity", "place", "--database", "a,b=2,c=1000000", "--was", "a,b=2")
	require.Zero(t, code, out)
	require.Contains(t, out, "ten_1\tc\tfrom ")
	require.NotContains(t, out, "ten_3\t", "it is pinned and stays")
	for stdin, want := range map[string]string{
		"":               "there are none",
		"ten_1 much":     `line 1: the load "much" must be a number`,
		"ten_1 1 a b":    "line 1 has 4 words",
		"ten_1\nten_1 2": "tenant ten_1 is given twice",
	} {
		out, code := fanmail(t, t.TempDir(), stdin, "capacity", "place", "--database", "a")
		require.Equal(t, 1, code)
		require.Contains(t, out, want)
	}
	out, code = fanmail(t, t.TempDir(), "ten_1", "capacity", "place", "--database", "a=x")
	require.Equal(t, 1, code)
	require.Contains(t, out, "the weight must be a number")
}
