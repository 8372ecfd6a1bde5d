package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/schema"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// describeRequests adds the POSTs that webhooks get to the document: one for each built-in type of event, with its
// schema and a sample.
func describeRequests(doc *huma.OpenAPI) error {
	doc.Webhooks = map[string]*huma.PathItem{}
	for _, typ := range events.Catalogue() {
		raw, err := schema.Files.ReadFile(string(typ) + ".json")
		if err != nil {
			return fmt.Errorf("describe the requests to webhooks: %w", err)
		}
		envelope, err := shareDefinitions(doc, raw)
		if err != nil {
			return fmt.Errorf("describe the request of %s: %w", typ, err)
		}
		sample, err := sampleEnvelope(typ)
		if err != nil {
			return fmt.Errorf("describe the request of %s: %w", typ, err)
		}
		doc.Webhooks[string(typ)] = &huma.PathItem{Post: &huma.Operation{
			OperationID: "post-" + strings.NewReplacer(".", "-", "_", "-").Replace(string(typ)),
			Summary:     string(typ),
			Description: "Sent to webhooks whose events select " + string(typ) + ".",
			Parameters:  requestHeaders(),
			RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
				"application/json": {Schema: &huma.Schema{Extensions: envelope}, Example: sample},
			}},
			Responses: map[string]*huma.Response{
				"2XX":     {Description: "The event is delivered."},
				"410":     {Description: "The delivery ends as failed, and the webhook is disabled."},
				"default": {Description: "The attempt has failed, redirects too. It is repeated until the attempts are used up."},
			},
		}}
	}
	return nil
}

// shareDefinitions reads a JSON Schema, and moves its definitions to the document's components, because many readers of
// OpenAPI documents resolve no "#/$defs/…" within one.
func shareDefinitions(doc *huma.OpenAPI, raw []byte) (map[string]any, error) {
	raw = []byte(strings.ReplaceAll(string(raw), `"#/$defs/`, `"#/components/schemas/Event`))
	var envelope map[string]any
	if err := json.Unmarshal(raw, &envelope); err != nil {
		return nil, err
	}
	definitions, _ := envelope["$defs"].(map[string]any)
	for name, definition := range definitions {
		doc.Components.Schemas.Map()["Event"+name] = &huma.Schema{Extensions: definition.(map[string]any)}
	}
	maps.DeleteFunc(envelope, func(key string, _ any) bool { return key == "$defs" || key == "$schema" })
	return envelope, nil
}

// sampleEnvelope is an event as a receiver may get it.
func sampleEnvelope(typ events.Type) (map[string]any, error) {
	data, err := schema.Sample(string(typ))
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"type": typ, "id": "evt_0123456789abcdef0123456789abcdef", "created_at": "2026-01-02T03:04:05.678901Z", "schema_version": "1", "data": data,
	}, nil
}

func requestHeaders() []*huma.Param {
	var out []*huma.Param
	for _, h := range []struct{ name, is string }{
		{signature.HeaderID, "The event's id, the same on every attempt and replay: drop duplicates by it."},
		{signature.HeaderTimestamp, "The time of the attempt, in Unix seconds."},
		{signature.HeaderSignature, "v1, and base64 of HMAC-SHA256 over id.timestamp.body; several with spaces between them while secrets are rotated."},
		{signature.HeaderE2A, "t= and the same time, v1= and hex of HMAC-SHA256 over timestamp.body."},
		{webhookrequest.HeaderEventType, "The event's type, as in the envelope."},
		{webhookrequest.HeaderSchemaVersion, "The version of the envelope's format."},
		{webhookrequest.HeaderDelivery, "The delivery's id."},
		{"Fanmail-Attempt", "The number of the attempt, from 1."},
	} {
		out = append(out, &huma.Param{Name: http.CanonicalHeaderKey(h.name), In: "header", Description: h.is, Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	return out
}
