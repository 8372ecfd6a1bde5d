package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// maxJSON bounds what an entry stores of an object.
const maxJSON = 16 << 10

// secretNames are parts of the names of fields whose values can be secrets. The values of
// "headers" and "data" are somebody's own.
var secretNames = []string{"secret", "password", "private_key", "token", "headers", "data", "credential", "logo"}

// Redact returns an object as JSON without what can be a secret; nil for nil, and for what
// is no JSON.
func Redact(object any) json.RawMessage {
	raw, ok := object.([]byte)
	if !ok {
		if object == nil {
			return nil
		}
		var err error
		if raw, err = json.Marshal(object); err != nil {
			return nil
		}
	}
	var value any
	if len(raw) == 0 || json.Unmarshal(raw, &value) != nil {
		return nil
	}
	out, err := json.Marshal(redacted(value))
	switch {
	case err != nil:
		return nil
	case len(out) > maxJSON:
		return json.RawMessage(`{"omitted":"it has more than 16 KiB"}`)
	}
	return out
}

// hidden is what stands for a secret.
const hidden = "***"

// Hides reports whether [Redact] hides a value of an object that is given as JSON.
func Hides(object []byte) bool { return bytes.Contains(Redact(object), []byte(`"`+hidden+`"`)) }

func redacted(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			if field != nil && field != "" && secretName(name) {
				v[name] = hidden
				continue
			}
			v[name] = redacted(field)
		}
	case []any:
		for i := range v {
			v[i] = redacted(v[i])
		}
	}
	return value
}

// secretName reports whether a field can hold a secret. Times such as
// previous_secret_expires_at are none.
func secretName(name string) bool {
	name = strings.ToLower(name)
	return !strings.HasSuffix(name, "_at") && name != "token_url" && slices.ContainsFunc(secretNames, func(s string) bool { return strings.Contains(name, s) })
}
