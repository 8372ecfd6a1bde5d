package mailsearch

import (
	"encoding/json"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/jsonscan"
)

// Summary returns the sender and the subject of the mail in an envelope, which may be cut; "" for what is not there.
func Summary(envelope []byte) (from, subject string) {
	jsonscan.Members(data(envelope), func(key string, value []byte) bool {
		switch key {
		case "from":
			var v any
			if json.Unmarshal(value, &v) == nil {
				from = firstAddress(v)
			}
		case "subject":
			subject = jsonscan.Text(value)
		}
		return from == "" || subject == ""
	})
	return from, subject
}

// firstAddress is the first address of a field, with its name.
func firstAddress(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		if len(v) > 0 {
			return firstAddress(v[0])
		}
	case map[string]any:
		name, _ := v["name"].(string)
		address, _ := v["address"].(string)
		email, _ := v["email"].(string)
		if name == "" {
			return address + email
		}
		return strings.TrimSpace(name + " <" + address + email + ">")
	}
	return ""
}
