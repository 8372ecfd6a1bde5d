package schema

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
)

//go:embed samples/samples.json
var samples []byte

var readSamples = sync.OnceValues(func() (map[string]json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(samples, &all); err != nil {
		return nil, fmt.Errorf("read the samples of events: %w", err)
	}
	return all, nil
})

// Sample returns data of an event of the type, as a receiver may get it: every field that
// its schema requires, with invented values. The error is [ErrUnknown] for a type without.
func Sample(eventType string) (json.RawMessage, error) {
	all, err := readSamples()
	if err != nil {
		return nil, err
	}
	data, ok := all[eventType]
	if !ok {
		return nil, ErrUnknown
	}
	return slices.Clone(data), nil
}
