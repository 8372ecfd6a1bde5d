package mailauth

import "strings"

type tagList map[string]string

func (t tagList) has(name string) bool { _, ok := t[name]; return ok }

// signatureTags reads the tags of a field such as DKIM-Signature, white space
// taken out.
func signatureTags(field []byte) tagList {
	_, value, _ := strings.Cut(string(field), ":")
	return tags(value)
}

func tags(value string) tagList {
	out := tagList{}
	for part := range strings.SplitSeq(value, ";") {
		if name, v, ok := strings.Cut(part, "="); ok {
			out[strings.TrimSpace(name)] = strings.Join(strings.Fields(v), "")
		}
	}
	return out
}
