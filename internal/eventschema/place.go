package eventschema

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Place is what is wrong with a place in a document.
type Place struct {
	Pointer string // RFC 6901; "" for the whole
	Reason  string
}

// Error is the pointer and the reason.
func (p *Place) Error() string {
	at := p.Pointer
	if at == "" {
		at = "/"
	}
	return "at " + clip(at, 300) + ": " + clip(p.Reason, 400)
}

// placeOf returns the first place, by its pointer, that does not fit a schema.
func placeOf(invalid *jsonschema.ValidationError) *Place {
	var first *Place
	eachLeaf(invalid, func(leaf *jsonschema.ValidationError) {
		var at strings.Builder
		for _, token := range leaf.InstanceLocation {
			at.WriteString("/" + escape(token))
		}
		if first != nil && at.String() > first.Pointer {
			return // its reason, which may be long, is not needed
		}
		p := &Place{at.String(), reason(leaf.ErrorKind)}
		if first == nil || p.Pointer < first.Pointer || p.Reason < first.Reason {
			first = p
		}
	})
	return first
}

// eachLeaf calls f for the errors that say what is wrong. The causes of one that fits none of several forms say why it
// does not fit each of them, which tells little.
func eachLeaf(e *jsonschema.ValidationError, f func(*jsonschema.ValidationError)) {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains, *kind.MinContains, *kind.PropertyNames:
		f(e)
		return
	}
	if len(e.Causes) == 0 {
		f(e)
		return
	}
	for _, cause := range e.Causes {
		eachLeaf(cause, f)
	}
}

var english = message.NewPrinter(language.English)

// reason says what is wrong without a value of the data: values are not for logs.
func reason(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", and is " + k.Got
	case *kind.Enum:
		return "must be one of " + values(k.Want...)
	case *kind.Const:
		return "must be " + values(k.Want)
	case *kind.Required:
		return "lacks " + names(k.Missing)
	case *kind.AdditionalProperties:
		return "has " + names(k.Properties) + ", which the schema does not allow"
	case *kind.PropertyNames:
		return "has the name " + names([]string{k.Property}) + ", which the schema does not allow"
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.Minimum:
		return "must be " + number(k.Want) + " or more"
	case *kind.Maximum:
		return "must be " + number(k.Want) + " or less"
	case *kind.ExclusiveMinimum:
		return "must be more than " + number(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + number(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + number(k.Want)
	case *kind.FalseSchema:
		return "is not allowed"
	case *kind.AnyOf:
		return "fits none of the schemas of anyOf"
	case *kind.OneOf:
		if len(k.Subschemas) > 0 {
			return "fits more than one of the schemas of oneOf"
		}
		return "fits none of the schemas of oneOf"
	case *kind.Not:
		return "fits the schema of not"
	case *kind.Format: // of a schema: data's is not checked
		return fmt.Sprintf("is no %s: %v", k.Want, k.Err)
	case *kind.InvalidJsonValue:
		return "is no JSON"
	}
	return k.LocalizedString(english) // lengths, counts, positions, names
}

func number(r *big.Rat) string {
	f, _ := r.Float64()
	return fmt.Sprint(f)
}

// values shows values of a schema.
func values(list ...any) string {
	shown := make([]string, 0, len(list))
	for _, v := range list {
		b, err := json.Marshal(v)
		if err != nil {
			b = []byte("?")
		}
		shown = append(shown, string(b))
	}
	return strings.Join(shown, ", ")
}

func names(list []string) string {
	shown := make([]string, len(list))
	for i, n := range list {
		shown[i] = fmt.Sprintf("%q", clip(n, 64))
	}
	return strings.Join(shown, ", ")
}
