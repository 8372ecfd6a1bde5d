package eventschema

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// expression is a regular expression with its size.
type expression struct {
	*regexp.Regexp
	instructions int
}

// expressions are those of one schema. An expression that stands there twice is compiled once.
type expressions map[string]expression

// compile refuses an expression with which all of the schema's have more than [MaxInstructions], before it takes more.
func (all expressions) compile(text string) (jsonschema.Regexp, error) {
	if known, ok := all[text]; ok {
		return known, nil
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	n := len(program.Inst)
	if n > MaxInstructions {
		return nil, fmt.Errorf("the regular expression has %d instructions; the limit is %d", n, MaxInstructions)
	}
	total := n
	for _, other := range all {
		total += other.instructions
	}
	if total > MaxInstructions {
		return nil, fmt.Errorf("the schema has regular expressions of more than %d instructions; the limit is %d", MaxInstructions, MaxInstructions)
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	all[text] = expression{compiled, n}
	return all[text], nil
}
