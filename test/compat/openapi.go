package compat

import (
	"fmt"
	"slices"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oasdiff/oasdiff/checker"
	"github.com/oasdiff/oasdiff/diff"
	"github.com/oasdiff/oasdiff/load"
)

// compareOpenAPI asks oasdiff. What it calls a warning breaks some client: a parameter or an optional field that is gone.
func compareOpenAPI(old, now string) ([]string, error) {
	var specs [2]*load.SpecInfo
	for i, document := range []string{old, now} {
		var err error
		if specs[i], err = load.NewSpecInfoFromData(openapi3.NewLoader(), []byte(document), openAPI); err != nil {
			return nil, fmt.Errorf("load the document: %w", err)
		}
	}
	d, sources, err := diff.GetPathsDiff(diff.NewConfig(), specs[:1], specs[1:])
	if err != nil {
		return nil, fmt.Errorf("compare the documents: %w", err)
	}
	var breaks []string
	text := checker.NewDefaultLocalizer()
	for _, c := range checker.CheckBackwardCompatibility(checker.NewConfig(checker.GetAllChecks()), d, sources) {
		if c.GetLevel() >= checker.WARN {
			breaks = append(breaks, fmt.Sprintf("%s %s: %s [%s]", c.GetOperation(), c.GetPath(), c.GetUncolorizedText(text), c.GetId()))
		}
	}
	slices.Sort(breaks)
	return slices.Compact(breaks), nil
}
