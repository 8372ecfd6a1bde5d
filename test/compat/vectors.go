package compat

import (
	"encoding/json"
	"fmt"
)

// compareVectors compares the requests that receivers test their verification with, by name. New ones break nobody.
func compareVectors(old, now string) ([]string, error) {
	had, names, err := named(old)
	if err != nil {
		return nil, err
	}
	has, _, err := named(now)
	if err != nil {
		return nil, err
	}
	var breaks []string
	for _, name := range names {
		vector, ok := has[name]
		if !ok {
			breaks = append(breaks, fmt.Sprintf("the request %q is gone", name))
			continue
		}
		below, err := kept(fmt.Sprintf("%q", name), had[name], vector)
		if err != nil {
			return nil, err
		}
		breaks = append(breaks, below...)
	}
	return breaks, nil
}

// named returns the requests of a file by name, and the names in their order.
func named(text string) (vectors map[string]json.RawMessage, names []string, err error) {
	var list []json.RawMessage
	if text == "" {
		return nil, nil, nil
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, nil, fmt.Errorf("read the requests: %w", err)
	}
	vectors = map[string]json.RawMessage{}
	for _, v := range list {
		var of struct{ Name string }
		if err := json.Unmarshal(v, &of); err != nil {
			return nil, nil, fmt.Errorf("read a request: %w", err)
		}
		vectors[of.Name], names = v, append(names, of.Name)
	}
	return vectors, names, nil
}
