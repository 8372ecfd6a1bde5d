package console

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// scope is what the functions of a template ask about the request that is rendered.
type scope interface {
	path(pattern string, parts ...any) string
	asset(name string) string
	token() string
	may(role tenancy.Role) bool
	operator() bool
	nextPage(cursor any) string
	here() string
}

// page is one page with the layout around it. A template and its functions serve one
// request at a time, so a page keeps a pool of them.
type page struct {
	parsed *template.Template // never executed, so that it can be cloned
	// blocks are the templates that the page's own file defines.
	blocks map[string]bool
	pool   sync.Pool
}

// instance is a template whose functions ask about the scope that is set.
type instance struct {
	template *template.Template
	scope    scope
}

// pages are all pages by name.
type pages map[string]*page

// shared are the files that every page has.
var shared = []string{"pages/layout.html", "pages/parts.html", "pages/webhook-fields.html"}

func newPages() (pages, error) {
	names, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("list the console's pages: %w", err)
	}
	out := pages{}
	for _, name := range names {
		if slices.Contains(shared, name) {
			continue
		}
		p, err := newPage(name)
		if err != nil {
			return nil, fmt.Errorf("parse the console's page %s: %w", name, err)
		}
		out[strings.TrimSuffix(path.Base(name), ".html")] = p
	}
	return out, nil
}

func newPage(name string) (*page, error) {
	own, err := template.New("").Funcs(functions(&instance{})).ParseFS(pageFiles, name)
	if err != nil {
		return nil, err
	}
	p := &page{blocks: map[string]bool{}}
	for _, t := range own.Templates() {
		p.blocks[t.Name()] = true
	}
	p.parsed, err = template.New("").Funcs(functions(&instance{})).ParseFS(pageFiles, append(slices.Clip(shared), name)...)
	return p, err
}

// render executes a block of the page.
func (p *page) render(sc scope, block string, data any) ([]byte, error) {
	i, _ := p.pool.Get().(*instance)
	if i == nil {
		t, err := p.parsed.Clone()
		if err != nil {
			return nil, fmt.Errorf("render a page: %w", err)
		}
		i = &instance{}
		i.template = t.Funcs(functions(i))
	}
	i.scope = sc
	var b bytes.Buffer
	if err := i.template.ExecuteTemplate(&b, block, data); err != nil {
		return nil, fmt.Errorf("render a page: %w", err)
	}
	i.scope = nil
	p.pool.Put(i)
	return b.Bytes(), nil
}

// functions are the functions of templates.
func functions(i *instance) template.FuncMap {
	return template.FuncMap{
		"ago": showAgo, "bytes": showBytes, "ms": showMS, "percent": showPercent, "number": showNumber,
		"short": showShort, "status": showStatus, "sparkline": showSparkline, "bars": showBars, "dict": dict,
		"path":  func(pattern string, parts ...any) string { return i.scope.path(pattern, parts...) },
		"asset": func(name string) string { return i.scope.asset(name) },
		"csrf": func() template.HTML {
			return template.HTML(`<input type="hidden" name="csrf" value="` + template.HTMLEscapeString(i.scope.token()) + `">`) //nolint:gosec // escaped
		},
		"may":      func(role string) bool { return i.scope.may(tenancy.Role(role)) },
		"operator": func() bool { return i.scope.operator() },
		"here":     func() string { return i.scope.here() },
		"more": func(cursor any) template.HTML {
			next := i.scope.nextPage(cursor)
			if next == "" {
				return ""
			}
			return template.HTML(`<nav class="more" aria-label="Pages"><a class="button" rel="next" href="` + template.HTMLEscapeString(next) + `">Older</a></nav>`) //nolint:gosec // escaped
		},
	}
}

// dict makes the data of a part from names and values.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict takes names and values in turn")
	}
	out := map[string]any{}
	for n := 0; n < len(pairs); n += 2 {
		out[fmt.Sprint(pairs[n])] = pairs[n+1]
	}
	return out, nil
}

// join puts a base in front of a path and appends parts, each as one segment.
func join(base, pattern string, parts []any) string {
	var b strings.Builder
	b.WriteString(base)
	b.WriteString(pattern)
	for _, p := range parts {
		if b.Len() == 0 || b.String()[b.Len()-1] != '/' {
			b.WriteByte('/')
		}
		b.WriteString(url.PathEscape(fmt.Sprint(indirect(p))))
	}
	return b.String()
}
