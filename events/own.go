package events

import (
	"fmt"
	"slices"
	"strings"
)

// MaxTypeBytes bounds the name of a type.
const MaxTypeBytes = 100

// reserved are the first parts of names that only the catalogue may have.
var reserved = func() []string {
	first := []string{"fanmail"} // for types of later releases
	for _, t := range catalogue {
		part, _, _ := strings.Cut(string(t), ".")
		first = append(first, part)
	}
	slices.Sort(first)
	return slices.Compact(first)
}()

// Own reports whether the type has the form of one that a tenant or an operator has made; see [Type.CheckOwn]. It does
// not tell whether somebody has made it.
func (t Type) Own() bool { return ownFault(string(t)) == "" }

// Possible reports whether an event can have the type: it is in the catalogue, or has the form of an own type.
func (t Type) Possible() bool { return t.Known() || t.Own() }

// CheckOwn returns a [*FieldError] for the field name if an own type can't have the name. It has two or more parts with
// dots between them, such as order.created, and at most [MaxTypeBytes]. A part has lower-case letters, digits, _ and -,
// and begins with a letter or a digit. The first part must not be one that the catalogue uses, such as email.
func (t Type) CheckOwn() error {
	if wrong := ownFault(string(t)); wrong != "" {
		return &FieldError{"name", wrong}
	}
	return nil
}

func ownFault(name string) string {
	if wrong := partsFault(name); wrong != "" {
		return wrong
	}
	first, _, dotted := strings.Cut(name, ".")
	switch {
	case !dotted:
		return "needs two parts or more, such as order.created"
	case slices.Contains(reserved, first):
		return fmt.Sprintf("begins with %s., which is for Fanmail's own types; so are %s", first, strings.Join(reserved, "., ")+".")
	}
	return ""
}

// partsFault returns what is wrong with parts between dots; "" for nothing.
func partsFault(name string) string {
	if len(name) > MaxTypeBytes {
		return fmt.Sprintf("has %d bytes; the limit is %d", len(name), MaxTypeBytes)
	}
	begins := true // a part
	for i := range len(name) {
		switch c := name[i]; {
		case c == '.' && !begins:
			begins = true
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', (c == '_' || c == '-') && !begins:
			begins = false
		case begins:
			return fmt.Sprintf("has, as character %d, one with which no part may begin; a part begins with a lower-case letter or a digit", i+1)
		default:
			return fmt.Sprintf("has, as character %d, one that is no lower-case letter, digit, dot, _ or -", i+1)
		}
	}
	if begins {
		return "is empty or ends with a dot; a name is such as order.created"
	}
	return ""
}
