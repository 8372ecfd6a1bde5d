package eventschema

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/schema"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
)

// descriptions say what the built-in types mean.
var descriptions = map[events.Type]string{
	events.EmailReceived:          "An agent has received a mail.",
	events.EmailSent:              "A mail was sent.",
	events.EmailPendingApproval:   "A mail waits for approval.",
	events.EmailApproved:          "A mail was approved.",
	events.EmailRejected:          "A mail was rejected.",
	events.EmailDelivered:         "The recipient's server has accepted a mail.",
	events.EmailBounced:           "A mail could not be delivered: its report has come.",
	events.EmailComplained:        "A recipient has complained about a mail.",
	events.EmailFailed:            "A mail could not be sent.",
	events.EmailFlagged:           "A mail was flagged.",
	events.EmailBlocked:           "A mail was blocked, and not sent.",
	events.EmailReviewRequested:   "A mail waits for a review.",
	events.EmailReviewApproved:    "The review of a mail has approved it.",
	events.EmailReviewRejected:    "The review of a mail has rejected it.",
	events.DomainSendingVerified:  "A domain may be sent from.",
	events.DomainSendingFailed:    "A domain may not be sent from any more.",
	events.DomainSuppressionAdded: "An address gets no more mail from a domain.",
	events.AgentSuppressionAdded:  "An address gets no more mail from an agent.",
	events.WebhookFailing:         "Operational: deliveries to a webhook have failed for an hour, and none has succeeded.",
	events.WebhookDisabled:        "Operational: a webhook was disabled automatically.",
	events.WebhookRecovered:       "Operational: a webhook that was failing, or was disabled automatically, has delivered again.",
	events.DeliveryExhausted:      "Operational: a delivery has ended as failed: by its last attempt, a 410, or a status code in the webhook's retry.final.",
}

// BuiltIn returns the types of the catalogue whose names come after a name, sorted by name, without schemas and samples.
func BuiltIn(after string) []eventtype.Type {
	var out []eventtype.Type
	for _, t := range events.Catalogue() {
		if string(t) > after {
			out = append(out, eventtype.Type{Name: t, Description: descriptions[t], HasSchema: true, HasSample: true})
		}
	}
	slices.SortFunc(out, func(a, b eventtype.Type) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// ReadBuiltIn returns a type of the catalogue with the schema of its data and its sample.
func ReadBuiltIn(name events.Type) (eventtype.Type, error) {
	t := eventtype.Type{Name: name, Description: descriptions[name], HasSchema: true, HasSample: true}
	var err error
	if t.Sample, err = schema.Sample(string(name)); err != nil {
		return t, fmt.Errorf("the sample of %s: %w", name, err)
	}
	text, err := schema.Files.ReadFile(string(name) + ".json")
	if err != nil {
		return t, fmt.Errorf("the schema of %s: %w", name, err)
	}
	var envelope struct {
		Dialect     json.RawMessage `json:"$schema"`
		Definitions json.RawMessage `json:"$defs"`
		Properties  struct {
			Data map[string]json.RawMessage `json:"data"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return t, fmt.Errorf("the schema of %s: %w", name, err)
	}
	data := envelope.Properties.Data
	data["$schema"] = envelope.Dialect
	if envelope.Definitions != nil {
		data["$defs"] = envelope.Definitions
	}
	if t.Schema, err = json.Marshal(data); err != nil {
		return t, fmt.Errorf("the schema of %s: %w", name, err)
	}
	return t, nil
}
