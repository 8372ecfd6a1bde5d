package fanmail_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
)

// Every method of a client that New did not create returns an error that says so.
func TestAZeroClientReturnsAnErrorFromEveryMethod(t *testing.T) {
	t.Parallel()
	failing := reflect.TypeFor[error]()
	for name, c := range map[string]*fanmail.Client{"nil": nil, "zero": {}} {
		v := reflect.ValueOf(c)
		require.Greater(t, v.NumMethod(), 25)
		for i := range v.NumMethod() {
			method := v.Type().Method(i)
			in := []reflect.Value{}
			for n := range v.Method(i).Type().NumIn() {
				if kind := v.Method(i).Type().In(n); kind == reflect.TypeFor[context.Context]() {
					in = append(in, reflect.ValueOf(t.Context()))
				} else {
					in = append(in, reflect.Zero(kind))
				}
			}
			var out []reflect.Value
			require.NotPanics(t, func() { out = v.Method(i).Call(in) }, "%s: %s", name, method.Name)
			if method.Name == "Wake" { // a hint, which returns nothing
				require.Empty(t, out)
				continue
			}
			require.NotEmpty(t, out, method.Name)
			last := out[len(out)-1]
			require.Equal(t, failing, last.Type(), method.Name)
			err, _ := last.Interface().(error)
			require.ErrorContains(t, err, "create it with fanmail.New", "%s: %s", name, method.Name)
			for _, o := range out[:len(out)-1] {
				require.True(t, o.IsZero(), "%s: %s", name, method.Name)
			}
		}
	}
	for name, err := range map[string]error{
		"Migrate": fanmail.Migrate(t.Context(), nil),
		"New":     func() error { _, err := fanmail.New(nil, nil, fanmail.Config{}); return err }(),
		"Insert":  func() error { _, err := fanmail.Insert(t.Context(), nil, fanmail.Event{}); return err }(),
	} {
		require.ErrorContains(t, err, "is required", name)
	}
}
