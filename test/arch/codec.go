package arch

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// codecs are the packages whose formats are read by other processes, also by those of another version.
var codecs = []string{"events", "internal/stream"}

// halves are the first words of the names of functions that encode and decode.
var halves = []string{"Encode", "Append", "Marshal", "Decode", "Parse", "Unmarshal"}

// checkCodecs finds a noun whose encoder and decoder are in different files. The noun of DecodeEnvelope is Envelope, that
// of a method such as (Event) Encode is its receiver's type.
func checkCodecs(files []file) []string {
	type place struct{ dir, noun string }
	in := map[place]map[string]bool{}
	for _, f := range files {
		if f.test || !slices.Contains(codecs, f.dir) {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if noun := codecNoun(fn); noun != "" {
				at := place{f.dir, noun}
				if in[at] == nil {
					in[at] = map[string]bool{}
				}
				in[at][f.name] = true
			}
		}
	}
	var breaches []string
	for at, names := range in {
		if len(names) > 1 {
			breaches = append(breaches, fmt.Sprintf("%s: the encoder and the decoder of %s are in different files (%s): who changes one must see the other",
				at.dir, at.noun, strings.Join(slices.Sorted(maps.Keys(names)), ", ")))
		}
	}
	return breaches
}

// codecNoun is what a function encodes or decodes; "" if it does neither.
func codecNoun(fn *ast.FuncDecl) string {
	name := strings.ToUpper(fn.Name.Name[:1]) + fn.Name.Name[1:]
	for _, verb := range halves {
		rest, ok := strings.CutPrefix(name, verb)
		if !ok || rest != "" && rest[0] >= 'a' && rest[0] <= 'z' {
			continue
		}
		if fn.Recv == nil {
			return rest
		}
		return receiver(fn)
	}
	return ""
}

// receiver is the name of a method's type.
func receiver(fn *ast.FuncDecl) string {
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
