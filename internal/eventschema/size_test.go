package eventschema

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// each joins n texts that are made from a number.
func each(n int, format string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = strings.ReplaceAll(format, "$", fmt.Sprintf("%03d", i))
	}
	return strings.Join(list, ",")
}

// costly are schemas for the field a, and an item of it, which take much for what they say.
var costly = map[string]struct{ schema, item string }{
	"types":               {`{"items":{"allOf":[` + each(900, `{"type":"string"}`) + `]}}`, `1`},
	"forms":               {`{"items":{"anyOf":[` + each(900, `{"const":"$"}`) + `]}}`, `"x"`},
	"numbers of an enum":  {`{"items":{"enum":[` + each(450, `1$`) + `]}}`, `2`},
	"long numbers":        {`{"items":{"enum":[` + each(450, `1$`) + `]}}`, strings.Repeat("9", 390)},
	"small numbers":       {`{"items":{"enum":[` + each(60, `1$e-390`) + `]}}`, strings.Repeat("9", 160) + `e-400`},
	"multiples":           {`{"items":{"allOf":[` + each(240, `{"multipleOf":7$}`) + `]}}`, `1`},
	"small multiples":     {`{"items":{"allOf":[` + each(40, `{"multipleOf":7$e-390}`) + `]}}`, `1e-399`},
	"missing names":       {`{"items":{"required":[` + each(7000, `"$"`) + `]}}`, `{}`},
	"names of a name":     {`{"items":{"dependentRequired":{"b":[` + each(7000, `"$"`) + `]}}}`, `{"b":1}`},
	"unique items":        {`{"items":{"allOf":[` + each(35, `{"uniqueItems":true}`) + `]}}`, `[` + each(20, `1$`) + `]`},
	"names that match":    {`{"items":{"allOf":[` + each(450, `{"propertyNames":{"maxLength":1}}`) + `]}}`, `{` + each(20, `"b$":1`) + `}`},
	"what is not allowed": {`{"items":{"allOf":[` + each(900, `{"additionalProperties":false}`) + `]}}`, `{` + each(20, `"b$":1`) + `}`},
	"long texts":          {`{"items":{"allOf":[` + each(900, `{"maxLength":7}`) + `]}}`, `"` + strings.Repeat("x", 16<<10) + `"`},
	"deep objects":        {`{"items":{"enum":[` + each(40, `{"b":{"c":[1,2,3,4,5,6,7,8,9,1$]}}`) + `]}}`, `{"b":{"c":[1,2,3,4,5,6,7,8,9,7]}}`},
}

// TestEveryStepOfAComparisonTakesAlike lets each kind of schema take as many steps as it may. Steps are what bounds the
// time and memory that a stranger's schema and data take, so that no kind may take far more for each.
func TestEveryStepOfAComparisonTakesAlike(t *testing.T) { //nolint:paralleltest // it measures memory
	type cost struct {
		step  time.Duration
		bytes uint64
	}
	costs := map[string]cost{}
	for kind, c := range costly {
		s, err := Compile(json.RawMessage(`{"properties":{"a":` + c.schema + `}}`))
		require.NoError(t, err, kind)
		data := func(n int) []byte { return []byte(`{"a":[` + strings.Repeat(c.item+",", n-1) + c.item + `]}`) }
		steps := func(n int) int {
			v, err := decode(data(n))
			require.NoError(t, err, kind)
			return s.steps(data(n), v)
		}
		n := 1
		for steps(2*n) <= MaxSteps {
			n *= 2
		}
		raw := data(n)
		v, err := decode(raw)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		invalid := s.check(v, s.steps(raw, v))
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		for range 2 { // other work may have held one up
			began = time.Now()
			_ = s.check(v, s.steps(raw, v))
			took = min(took, time.Since(began))
		}
		if invalid != nil {
			require.NotContains(t, invalid.Error(), "too much", kind)
		}
		costs[kind] = cost{took / time.Duration(steps(n)), after.TotalAlloc - before.TotalAlloc}
	}
	for kind, c := range costs {
		t.Logf("%-20s %5s a step, %3d MiB", kind, c.step, c.bytes>>20)
		require.Less(t, c.step, 8*costs["types"].step, kind)
		require.Less(t, c.bytes, uint64(256<<20), kind)
	}
}
