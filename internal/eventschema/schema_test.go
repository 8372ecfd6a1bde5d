package eventschema_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
)

const order = `{"type":"object","required":["id","lines"],"additionalProperties":false,"$defs":{"line":{"type":"object","required":["sku"],
	"properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-[0-9]+$"},"price":{"type":"number","minimum":0,"multipleOf":0.01}}}},
	"properties":{"id":{"type":"string","maxLength":8},"state":{"enum":["new","paid"]},"lines":{"type":"array","items":{"$ref":"#/$defs/line"},"maxItems":3},
	"a/b~c":{"oneOf":[{"type":"string"},{"type":"null"}]}}}`

func TestAnErrorNamesThePlaceAndNoValue(t *testing.T) {
	t.Parallel()
	s, err := eventschema.Compile(json.RawMessage(order))
	require.NoError(t, err)
	require.NoError(t, s.Check("data", json.RawMessage(`{"id":"1","lines":[{"sku":"ABC-1","price":0.07}],"a/b~c":null}`)))
	for data, want := range map[string]string{
		`{"lines":[]}`:        `at /: lacks "id"`,
		`{"id":1,"lines":[]}`: "at /id: must be string, and is number",
		`{"id":"1","lines":[{"sku":"ABC-1"},{"sku":"s3cret"}]}`: "at /lines/1/sku: must match ^[A-Z]{3}-[0-9]+$",
		`{"id":"1","lines":[{"sku":"ABC-1","price":-77}]}`:      "at /lines/0/price: must be 0 or more",
		`{"id":"1","lines":[{"sku":"ABC-1","price":0.077}]}`:    "at /lines/0/price: must be a multiple of 0.01",
		`{"id":"1","lines":[],"state":"s3cret"}`:                `at /state: must be one of "new", "paid"`,
		`{"id":"1","lines":[],"more":1}`:                        `at /: has "more", which the schema does not allow`,
		`{"id":"1","lines":[],"a/b~c":77}`:                      "at /a~1b~0c: fits none of the schemas of oneOf",
		`{"id":"123456789s3cret","lines":[]}`:                   "at /id: maxLength: got 15, want 8",
		`{"id":"1","lines":[{},{},{},{}]}`:                      "at /lines: maxItems: got 4, want 3",
		`{"id":"1","lines":[{"sku":"ABC-1","price":1e999999}]}`: "at /lines/0/price, a number of over 400 digits or with an exponent beyond that",
	} {
		err := s.Check("data", json.RawMessage(data))
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault, data)
		require.Equal(t, "data", fault.Field)
		require.Contains(t, fault.Reason, want, data)
		require.NotContains(t, fault.Reason, "s3cret")
		require.NotContains(t, fault.Reason, "77")
	}
}

func TestASchemaIsRefusedWithAReason(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"allOf":[`, 11) + `{"$ref":"#/$defs/a"}` + strings.Repeat(`]}`, 11)
	doubled := `{"$defs":{"a0":{"type":"string"}`
	for i := range 12 {
		doubled += fmt.Sprintf(`,"a%d":{"allOf":[{"$ref":"#/$defs/a%d"},{"$ref":"#/$defs/a%d"}]}`, i+1, i, i)
	}
	doubled += `},"$ref":"#/$defs/a12"}`
	for schema, want := range map[string]string{
		`[]`:                                                    "must be a JSON object",
		`{"type":"strin"}`:                                      "is no JSON Schema of draft 2020-12: at /type: ",
		`{"properties":{"a":{"minimum":"1"}}}`:                  "at /properties/a/minimum: must be number, and is string",
		`{"properties":{"a":{"pattern":"("}}}`:                  "is no JSON Schema of draft 2020-12: at /properties/a/pattern",
		`{"pattern":"(?=x)"}`:                                   "at /pattern: is no regex: error parsing regexp: invalid or unsupported Perl syntax",
		`{"pattern":"(.{1000}){1000}"}`:                         "at /pattern",
		`{"pattern":".{1000}x{900}y{900}"}`:                     "at /pattern",
		`{"$ref":"https://example.com/s.json"}`:                 "a schema may refer to places in itself alone",
		`{"$ref":"other.json"}`:                                 "a schema may refer to places in itself alone",
		`{"$ref":"file:///etc/passwd"}`:                         "a schema may refer to places in itself alone",
		`{"$ref":"#/$defs/none"}`:                               "#/$defs/none",
		`{"$schema":"http://json-schema.org/draft-07/schema#"}`: "has a $schema other than https://json-schema.org/draft/2020-12/schema",
		`{"properties":{"a":{"$id":"x.json","$schema":"http://json-schema.org/draft-07/schema#"}}}`: "has a $schema other than",
		`{"$schema":"https://example.com/meta"}`:                                                    "has a $schema other than",
		`{"properties":{"child":{"$ref":"#"}}}`:                                                     "refers to itself at #;",
		`{"$defs":{"a":` + deep + `},"$ref":"#/$defs/a"}`:                                           "refers to itself",
		`{"$dynamicRef":"#n","$dynamicAnchor":"n"}`:                                                 "$dynamicRef",
		doubled:                "has more than 1000 parts",
		`{"minimum":1e999999}`: "has, at /minimum, a number of over 400 digits",
		`{"allOf":[` + strings.Repeat("true,", 5000) + `true]}`: "has 5002 objects and booleans; the limit is 5000",
		`{"properties":{` + patterns(20) + `}}`:                 "has regular expressions of more than 2000 instructions",
	} {
		_, err := eventschema.Compile(json.RawMessage(schema))
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault, "%.80s", schema)
		require.Equal(t, "schema", fault.Field)
		require.Contains(t, fault.Reason, want, "%.80s", schema)
		require.Less(t, len(fault.Reason), 1024)
	}
}

// patterns are n properties with a pattern of some hundred instructions.
func patterns(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"p%d":{"pattern":"^.{200}$"}`, i))
	}
	return strings.Join(list, ",")
}

func TestDataThatWouldTakeTooLongIsRefused(t *testing.T) {
	t.Parallel()
	var forms []string
	for i := range 500 {
		forms = append(forms, fmt.Sprintf(`{"const":"%d"}`, i))
	}
	s, err := eventschema.Compile(json.RawMessage(`{"additionalProperties":{"items":{"anyOf":[` + strings.Join(forms, ",") + `]}}}`))
	require.NoError(t, err)
	list := `{"a":[` + strings.Repeat(`"1",`, 400) + `"1"]}`
	require.NoError(t, s.Check("data", json.RawMessage(list)))
	long := `{"a":[` + strings.Repeat("1,", 3000) + `1]}`
	require.ErrorContains(t, s.Check("data", json.RawMessage(long)), "is too much to compare with its schema")

	s, err = eventschema.Compile(json.RawMessage(`{"properties":{"a":{"pattern":"^(a?){400}$"}}}`))
	require.NoError(t, err)
	text := `{"a":"` + strings.Repeat("a", 200<<10) + `"}`
	require.ErrorContains(t, s.Check("data", json.RawMessage(text)), "and the limit is 250000")
}

// TestTheBuiltInTypesAreListedWithSchemasThatTheirSamplesFit compares what GET /v1/event-types shows.
func TestTheBuiltInTypesAreListedWithSchemasThatTheirSamplesFit(t *testing.T) {
	t.Parallel()
	all := eventschema.BuiltIn("")
	require.Len(t, all, len(events.Catalogue()))
	for i, listed := range all {
		require.NotEmpty(t, listed.Description, listed.Name)
		require.True(t, i == 0 || all[i-1].Name < listed.Name)
		whole, err := eventschema.ReadBuiltIn(listed.Name)
		require.NoError(t, err)
		s, err := eventschema.Compile(whole.Schema)
		require.NoError(t, err, listed.Name)
		require.NoError(t, s.Check("sample", whole.Sample), listed.Name)
	}
	require.Len(t, eventschema.BuiltIn("webhook.disabled"), 2)
}

// FuzzSchema compares data with schemas of strangers.
func FuzzSchema(f *testing.F) {
	f.Add(order, `{"id":"1","lines":[{"sku":"ABC-1","price":0.07}]}`)
	f.Add(`{"unevaluatedProperties":false,"dependentSchemas":{"a":{"not":{}}},"if":{"contains":{"type":"integer"}},"then":false}`, `{"a":[1,{"b":1.5}]}`)
	f.Add(`{"$id":"https://x.example/","$anchor":"a","properties":{"a":{"$ref":"#a"}}}`, `{"a":{"a":1e400}}`)
	f.Add(`{"patternProperties":{"^a|b$":{"uniqueItems":true,"prefixItems":[true],"items":{"enum":[1,{}]}}}}`, `{"ab":[1,1,{}]}`)
	f.Fuzz(func(t *testing.T, schema, data string) {
		if len(schema) > 4096 || len(data) > 4096 {
			return
		}
		s, err := eventschema.Compile(json.RawMessage(schema))
		if err == nil {
			err = s.Check("data", json.RawMessage(data))
		}
		if err != nil {
			var fault *events.FieldError
			require.ErrorAs(t, err, &fault)
			require.NotContains(t, fault.Reason, "schema.invalid")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	s, err := eventschema.Compile(json.RawMessage(order))
	require.NoError(b, err)
	data := json.RawMessage(`{"id":"1","lines":[{"sku":"ABC-1","price":0.07},{"sku":"ABC-2","price":10}],"state":"paid"}`)
	for b.Loop() {
		if err := s.Check("data", data); err != nil {
			b.Fatal(err)
		}
	}
}
