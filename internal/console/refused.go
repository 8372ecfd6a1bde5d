package console

import (
	"errors"
	"net/http"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// refusal is the status of a page that shows a form again: that of the API's problem.
func refusal(err error) int {
	var p *apiclient.Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return http.StatusUnprocessableEntity
}

// lines are the values of a text field, one a line.
func lines(text string) []string {
	out := []string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// badField is a refusal of one field, in the form of the API's.
func badField(at, text string) *apiclient.Problem {
	p := &apiclient.Problem{Status: http.StatusUnprocessableEntity, Title: "Unprocessable Entity", Detail: "the form is not valid"}
	p.Errors = append(p.Errors, struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	}{text, at})
	return p
}
