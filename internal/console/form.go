package console

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// form is a form as it was typed, with what the API says about its fields.
type form struct {
	Form   url.Values
	Faults map[string]string // by the location of the field, see faults
	// fields are the ids of the inputs by the location of the API's field.
	fields map[string]string
}

// wrong is one fault of a form. ID is that of the input; empty if no input is meant.
type wrong struct{ At, ID, Text string }

// Value is what a field holds.
func (f form) Value(name string) string { return f.Form.Get(name) }

// Chosen reports whether a field has a value among its values.
func (f form) Chosen(name string, value any) bool {
	return slices.Contains(f.Form[name], fmt.Sprint(value))
}

// Wrong lists the faults in the order of their locations.
func (f form) Wrong() (out []wrong) {
	for at, text := range f.Faults {
		out = append(out, wrong{at, f.fields[f.field(at)], text})
	}
	slices.SortFunc(out, func(a, b wrong) int { return strings.Compare(a.At, b.At) })
	return out
}

// field is the location of the field that a fault belongs to: its own, or the nearest around it. It is empty for none.
func (f form) field(at string) string {
	for at != "" {
		if _, ok := f.fields[at]; ok {
			return at
		}
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	return ""
}

// Fault is what is wrong with the field of a location; empty for nothing.
func (f form) Fault(at string) string {
	for _, w := range f.Wrong() {
		if w.ID != "" && f.field(w.At) == at {
			return w.Text
		}
	}
	return ""
}

// Invalid are the attributes of an input: they join it to the fault that is shown beside it.
func (f form) Invalid(at string) template.HTMLAttr {
	if f.Fault(at) == "" {
		return ""
	}
	return template.HTMLAttr(`aria-invalid="true" aria-describedby="` + template.HTMLEscapeString(f.fields[at]) + `-fault"`) //nolint:gosec // escaped
}

// At is the field of a location, for the part "beside".
func (f form) At(at string) wrong { return wrong{at, f.fields[at], f.Fault(at)} }

// refuse keeps what the API refuses. It reports whether the error is about the form.
func (f *form) refuse(c *call, err error) bool {
	if f.Faults = faults(err); f.Faults == nil {
		return false
	}
	c.status = refusal(err)
	return true
}

// typed is a number as it was typed. Another text stays a text, so that the API names its field.
func typed(text string) any {
	text = strings.TrimSpace(text)
	if text != "" && strings.ContainsAny(text[:1], "-0123456789") && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

// items are values that spaces, commas or line ends separate.
func items(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

// needs refuses a form to those who could not send it.
func (c *call) needs(role tenancy.Role) error {
	if c.may(role) {
		return nil
	}
	return refused(http.StatusForbidden, fmt.Sprintf("This needs the role %s. Sign in with a key that has it.", role))
}
