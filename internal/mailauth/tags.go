package mailauth

import "strings"

// tagList maps the names of tags to their values.
type tagList map[string]string

func (t tagList) has(name string) bool { _, ok := t[name]; return ok }

// signatureTags parses the tags of a raw field such as DKIM-Signature.
func signatureTags(field []byte) tagList {
	_, value, _ := strings.Cut(string(field), ":")
	return tags(value)
}

// tags parses "name=value; …" and removes white space from the values. The last of equal
// names wins.
func tags(value string) tagList {
	out := tagList{}
	for part := range strings.SplitSeq(value, ";") {
		if name, v, ok := strings.Cut(part, "="); ok {
			out[strings.TrimSpace(name)] = strings.Join(strings.Fields(v), "")
		}
	}
	return out
}
