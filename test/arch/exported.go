package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"io/fs"
	"slices"
	"strings"
)

// Public are the packages that programs outside this repository import.
var Public = []string{
	".", "events", "events/email", "events/operational", "events/schema", "outbox", "fanout", "subscribers", "subscribers/signature", "fanmailtest", "receivers/go",
}

// Exported lists the exported symbols of the public packages, one line for each: constants with their values, types,
// fields with their tags, methods and functions with their signatures. A line begins with the package's directory. The
// list is sorted by package, and by symbol inside it.
func Exported(tree fs.FS) (string, error) {
	files, err := load(tree)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, pkg := range Public {
		var lines []string
		for _, f := range files {
			if f.dir == pkg && !f.test && f.pkg != "main" {
				lines = append(lines, symbols(f)...)
			}
		}
		slices.Sort(lines)
		for _, l := range lines {
			fmt.Fprintf(&out, "%s: %s\n", pkg, l)
		}
	}
	return out.String(), nil
}

// symbols lists the exported declarations of a file.
func symbols(f file) []string {
	var lines []string
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			on := ""
			if d.Recv != nil {
				if on = receiver(d); !ast.IsExported(on) {
					continue
				}
				on += "."
			}
			if d.Name.IsExported() {
				lines = append(lines, "func "+on+d.Name.Name+strings.TrimPrefix(source(d.Type), "func"))
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					lines = append(lines, typeSymbols(s)...)
				case *ast.ValueSpec:
					lines = append(lines, valueSymbols(d.Tok, s)...)
				}
			}
		}
	}
	return lines
}

func valueSymbols(kind token.Token, s *ast.ValueSpec) []string {
	var lines []string
	for i, n := range s.Names {
		if !n.IsExported() {
			continue
		}
		line := kind.String() + " " + n.Name
		if s.Type != nil {
			line += " " + source(s.Type)
		}
		if kind == token.CONST && i < len(s.Values) {
			line += " = " + source(s.Values[i])
		}
		lines = append(lines, line)
	}
	return lines
}

func typeSymbols(s *ast.TypeSpec) []string {
	if !s.Name.IsExported() {
		return nil
	}
	name := "type " + s.Name.Name
	if s.TypeParams != nil {
		var params []string
		for _, p := range s.TypeParams.List {
			for _, n := range p.Names {
				params = append(params, n.Name+" "+source(p.Type))
			}
		}
		name += "[" + strings.Join(params, ", ") + "]"
	}
	if s.Assign.IsValid() {
		name += " ="
	}
	var members *ast.FieldList
	kind := ""
	switch t := s.Type.(type) {
	case *ast.StructType:
		members, kind = t.Fields, "struct"
	case *ast.InterfaceType:
		members, kind = t.Methods, "interface"
	default:
		return []string{name + " " + source(s.Type)}
	}
	lines := []string{name + " " + kind}
	for _, m := range members.List {
		tag := ""
		if m.Tag != nil {
			tag = " " + m.Tag.Value
		}
		if len(m.Names) == 0 {
			lines = append(lines, fmt.Sprintf("%s: %s%s", "type "+s.Name.Name, source(m.Type), tag))
		}
		for _, n := range m.Names {
			if n.IsExported() {
				lines = append(lines, fmt.Sprintf("%s: %s %s%s", "type "+s.Name.Name, n.Name, source(m.Type), tag))
			}
		}
	}
	return lines
}

// source prints a node on one line, without comments.
func source(n ast.Node) string {
	var b bytes.Buffer
	_ = printer.Fprint(&b, token.NewFileSet(), n) // a buffer takes everything
	return strings.Join(strings.Fields(b.String()), " ")
}
