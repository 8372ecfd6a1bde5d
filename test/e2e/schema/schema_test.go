package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	generator "github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/events/operational"
	"github.com/fanmail-dev/fanmail/events/schema"
)

//go:generate go test -run TestTheSchemasAreCurrent . -update

var update = flag.Bool("update", false, "write the schemas anew")

const (
	module = "github.com/fanmail-dev/fanmail/"
	dir    = "../../../events/schema"
)

// dataOf holds the Go types of "data". The data of other types is any JSON object.
var dataOf = map[events.Type]any{
	events.EmailReceived:     &email.Received{},
	events.EmailBounced:      &email.Bounced{},
	events.EmailComplained:   &email.Complained{},
	events.WebhookFailing:    &operational.WebhookFailing{},
	events.WebhookDisabled:   &operational.WebhookDisabled{},
	events.WebhookRecovered:  &operational.WebhookRecovered{},
	events.DeliveryExhausted: &operational.DeliveryExhausted{},
}

// generate makes the schema of a type's envelope.
func generate(t *testing.T, typ events.Type) []byte {
	t.Helper()
	r := &generator.Reflector{
		Anonymous: true, ExpandedStruct: true, AllowAdditionalProperties: true,
		Mapper: func(rt reflect.Type) *generator.Schema {
			if rt == reflect.TypeFor[events.ID]() {
				return &generator.Schema{Type: "string", Pattern: "^evt_[0-9a-f]{32}$"}
			}
			return nil
		},
	}
	for _, pkg := range []string{"email", "operational"} { // the generator joins the two paths to the import path
		require.NoError(t, r.AddGoComments(module+"test/e2e/schema", "../../../events/"+pkg, generator.WithFullComment()))
	}
	s := r.Reflect(&events.Envelope{})
	s.Title = string(typ)
	article := "a "
	if strings.ContainsRune("aeiou", rune(typ[0])) {
		article = "an "
	}
	s.Description = "The envelope of " + article + string(typ) + " event, POSTed byte for byte."
	kind, _ := s.Properties.Get("type")
	kind.Const = string(typ)
	at, _ := s.Properties.Get("created_at")
	at.Description = "When it was committed, by the database's clock."
	version, _ := s.Properties.Get("schema_version")
	version.Const = events.SchemaVersion
	data := &generator.Schema{Type: "object"}
	if v, ok := dataOf[typ]; ok {
		data = r.Reflect(v)
		s.Definitions, data.Definitions, data.Version = data.Definitions, nil, ""
		if typ == events.EmailReceived {
			for _, name := range []string{"reply_text", "reply_html", "sender", "resent", "list", "bounce", "complaint", "calendar"} {
				nullable(t, data, name)
			}
			nullable(t, s.Definitions["Milter"], "spam")
			nullable(t, s.Definitions["Milter"], "score")
		}
	}
	s.Properties.Set("data", data)
	b, err := json.MarshalIndent(s, "", "  ")
	require.NoError(t, err)
	return append(b, '\n')
}

// nullable allows null for a field that is a pointer; the generator does not.
func nullable(t *testing.T, s *generator.Schema, name string) {
	t.Helper()
	p, ok := s.Properties.Get(name)
	require.True(t, ok)
	s.Properties.Set(name, &generator.Schema{
		Description: p.Description, AnyOf: []*generator.Schema{{Type: p.Type, Ref: p.Ref}, {Type: "null"}},
	})
}

func TestTheSchemasAreCurrent(t *testing.T) {
	t.Parallel()
	for _, typ := range events.Catalogue() {
		want := generate(t, typ)
		file := filepath.Join(dir, string(typ)+".json")
		if *update {
			require.NoError(t, os.WriteFile(file, want, 0o600))
		}
		have, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "run `make generate`")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, len(events.Catalogue()), "a file belongs to no type")
}

func compile(t *testing.T, typ events.Type, formats bool) *validator.Schema {
	t.Helper()
	b, err := schema.Files.ReadFile(string(typ) + ".json")
	require.NoError(t, err)
	doc, err := validator.UnmarshalJSON(bytes.NewReader(b))
	require.NoError(t, err)
	c := validator.NewCompiler()
	if formats {
		c.AssertFormat()
	}
	require.NoError(t, c.AddResource("mem:///"+string(typ), doc))
	s, err := c.Compile("mem:///" + string(typ))
	require.NoError(t, err)
	return s
}

func validate(t *testing.T, typ events.Type, envelope []byte) error {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(envelope))
	require.NoError(t, err)
	return compile(t, typ, true).Validate(doc)
}

// The golden envelopes are what receivers were sent: the schemas fit them.
func TestTheGoldenEnvelopesFitTheirSchemas(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../events/testdata/envelopes/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	told := map[events.Type]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		env, err := events.DecodeEnvelope(b)
		require.NoError(t, err, f)
		require.NoError(t, validate(t, env.Type, b), f)
		told[env.Type] = true
		d := json.NewDecoder(bytes.NewReader(env.Data))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(reflect.New(reflect.TypeOf(dataOf[env.Type]).Elem()).Interface()), "%s holds a field that the type lacks", f)
		// What the schema asks for is asked for.
		asked := []string{`"webhook_id":`, `"schema_version":`}
		switch env.Type {
		case events.EmailReceived:
			asked = []string{`"subject":`, `"from":`, `"schema_version":`, `"reply_text":`, `"auto_submitted":`, `"list":`}
		case events.EmailBounced:
			asked = []string{`"bounce":`, `"original_message_id":`}
		case events.EmailComplained:
			asked = []string{`"complaint":`, `"original_message_id":`}
		}
		for _, cut := range asked {
			require.Error(t, validate(t, env.Type, bytes.Replace(b, []byte(cut), []byte(`"x`+cut[1:]), 1)), "%s without %s", f, cut)
		}
		require.Error(t, validate(t, events.EmailSent, b), "another type's schema")
	}
	require.Len(t, told, len(dataOf), "each type whose data has a Go type has a golden envelope")
}

// Every type's schema takes an envelope that the outbox would make.
func TestEverySchemaTakesItsEnvelope(t *testing.T) {
	t.Parallel()
	for _, typ := range events.Catalogue() {
		if dataOf[typ] != nil {
			continue // the golden ones
		}
		ev := events.Event{TenantID: events.NewRandom[events.TenantKind](), Type: typ, Data: json.RawMessage(`{"a":1}`)}
		head, tail, err := ev.Encode(events.NewID())
		require.NoError(t, err)
		whole := append(append(head, time.Unix(1, 0).UTC().Format(events.TimeLayout)...), tail...)
		require.NoError(t, validate(t, typ, whole))
		require.Error(t, validate(t, typ, bytes.Replace(whole, []byte(`{"a":1}`), []byte("[]"), 1)))
	}
}

// mutations returns the data without each of its fields and with another value in the place of each, to any depth.
func mutations(v any) []any {
	var out []any
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			with := func(value any) any {
				c := maps.Clone(v)
				c[name] = value
				return c
			}
			c := maps.Clone(v)
			delete(c, name)
			out = append(out, c)
			for _, value := range []any{nil, true, 1.5, 7.0, "text", []any{}, []any{1.0}, map[string]any{}, map[string]any{"x": 1.0}} {
				out = append(out, with(value))
			}
			for _, m := range mutations(inner) {
				out = append(out, with(m))
			}
		}
	case []any:
		for i, inner := range v {
			for _, m := range append(mutations(inner), nil, "text", map[string]any{}, []any{"one"}) {
				c := slices.Clone(v)
				c[i] = m
				out = append(out, c)
			}
		}
	}
	return out
}

func TestTheValidationOfDataAgreesWithAThirdPartysLibrary(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../events/testdata/envelopes/*.json")
	require.NoError(t, err)
	fits, faults := 0, 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		env, err := events.DecodeEnvelope(b)
		require.NoError(t, err)
		var data any
		require.NoError(t, json.Unmarshal(env.Data, &data))
		reference := compile(t, env.Type, false) // ours checks no format, as it says
		var whole map[string]any
		require.NoError(t, json.Unmarshal(b, &whole))
		for _, m := range append(mutations(data), data) {
			text, err := json.Marshal(m)
			require.NoError(t, err)
			whole["data"] = m
			want, got := reference.Validate(whole), schema.ValidateData(string(env.Type), text)
			require.Equal(t, want == nil, got == nil, "%s: %v, %v\n%s", f, want, got, text)
			if got == nil {
				fits++
			} else {
				faults++
			}
		}
	}
	require.Greater(t, fits, 100)
	require.Greater(t, faults, 1000)
	for _, typ := range events.Catalogue() {
		require.NoError(t, schema.ValidateData(string(events.EmailSent), []byte(`{}`)))
		require.NotErrorIs(t, schema.ValidateData(string(typ), []byte(`{}`)), schema.ErrUnknown, "%s has a schema", typ)
	}
	require.ErrorIs(t, schema.ValidateData("nothing", []byte(`{}`)), schema.ErrUnknown)
}
