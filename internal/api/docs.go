package api

import (
	_ "embed" // for docsPage and kept
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// docsPage renders /openapi.json in the browser. It loads nothing else.
//
//go:embed docs.html
var docsPage []byte

// The page has its script and style inline; it loads only the document.
const docsPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// kept is what OpenAPI returns: a test compares them. A process that served what it builds would take a tenth of a second
// longer to start.
//
//go:embed openapi.json
var kept []byte

func docRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(kept)
	})
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", docsPolicy)
		_, _ = w.Write(docsPage)
	})
}

// nullEnums adds null to the enum of each nullable field. Package huma lists the values only, which would forbid null, to
// the document's readers and to its own check of requests.
func nullEnums(schemas map[string]*huma.Schema) {
	for _, s := range schemas {
		for _, p := range s.Properties {
			if p.Nullable && len(p.Enum) > 0 && !slices.Contains(p.Enum, nil) {
				p.Enum = append(p.Enum, nil)
			}
		}
	}
}

func document(a huma.API) ([]byte, error) {
	if err := describeRequests(a.OpenAPI()); err != nil {
		return nil, err
	}
	if err := addSamples(a.OpenAPI()); err != nil {
		return nil, err
	}
	doc, err := json.MarshalIndent(a.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return append(doc, '\n'), nil
}
