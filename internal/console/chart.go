package console

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// bucket counts the deliveries that were created in a stretch of time, as GET /v1/activity does.
type bucket struct {
	Start     time.Time `json:"start"`
	Delivered int       `json:"delivered"`
	Failed    int       `json:"failed"`
	Pending   int       `json:"pending"`
	Estimated bool      `json:"estimated"`
}

// The view box of a chart of bars.
const (
	chartWidth  = 600.0
	chartHeight = 96.0
)

// showBars draws buckets as stacked bars: delivered below, then failed, then pending. label
// says what the chart shows. Each bar tells its figures as its title.
func showBars(buckets []bucket, label string) template.HTML {
	if len(buckets) == 0 {
		return none
	}
	most, delivered, failed := 1, 0, 0
	for _, b := range buckets {
		most = max(most, b.Delivered+b.Failed+b.Pending)
		delivered += b.Delivered
		failed += b.Failed
	}
	var bars strings.Builder
	width := chartWidth / float64(len(buckets))
	for i, b := range buckets {
		x, top := float64(i)*width, chartHeight
		fmt.Fprintf(&bars, `<g><title>%s UTC: %d delivered, %d failed, %d pending</title><rect class="back" x="%.1f" y="0" width="%.1f" height="%.0f"/>`,
			b.Start.UTC().Format("2006-01-02 15:04"), b.Delivered, b.Failed, b.Pending, x, width, chartHeight)
		for _, part := range []struct {
			class string
			n     int
		}{{"ok", b.Delivered}, {"bad", b.Failed}, {"wait", b.Pending}} {
			if part.n == 0 {
				continue
			}
			// What is not nothing can be seen.
			height := max(float64(part.n)/float64(most)*chartHeight, 1.5)
			top -= height
			fmt.Fprintf(&bars, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, part.class, x+1, max(top, 0), max(width-2, 1), height)
		}
		bars.WriteString(`</g>`)
	}
	title := template.HTMLEscapeString(fmt.Sprintf("%s: %d delivered, %d failed", label, delivered, failed))
	return template.HTML(fmt.Sprintf(`<svg class="chart" viewBox="0 0 %.0f %.0f" preserveAspectRatio="none" role="img" aria-label="%s">%s</svg>`, //nolint:gosec // escaped
		chartWidth, chartHeight, title, bars.String()))
}
