package api

import (
	_ "embed" // for the page
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// docsPage renders /openapi.json in the browser, and needs nothing else.
//
//go:embed docs.html
var docsPage []byte

// The page's script and style stand in it; nothing is loaded but the document.
const docsPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *server) docRoutes(mux *http.ServeMux) error {
	doc, err := document(s.api)
	if err != nil {
		return err
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(doc)
	})
	mux.HandleFunc("GET /docs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", docsPolicy)
		_, _ = w.Write(docsPage)
	})
	return nil
}

// nullEnums lets null stand where a field may be null and its values are
// listed: the library lists the values alone, and null would be none of them.
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
	nullEnums(a.OpenAPI().Components.Schemas.Map())
	doc, err := json.MarshalIndent(a.OpenAPI(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return append(doc, '\n'), nil
}

// OpenAPI is the OpenAPI 3.1 document of the interface, as GET /openapi.json
// gives it. It needs no database.
func OpenAPI(version string) ([]byte, error) {
	m, err := newMetrics(nil)
	if err != nil {
		return nil, err
	}
	s := &server{metrics: m, maxBody: DefaultMaxBodyBytes, api: humago.New(http.NewServeMux(), config(version))}
	s.routes()
	return document(s.api)
}
