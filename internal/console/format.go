package console

import (
	"fmt"
	"html/template"
	"math"
	"reflect"
	"strings"
	"time"
)

// Functions of templates that need no call.

// number is a numeric value of a template as a float64.
func number(v any) (float64, bool) {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer || r.Kind() == reflect.Interface {
		if r.IsNil() {
			return 0, false
		}
		r = r.Elem()
	}
	switch {
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	case r.CanFloat():
		return r.Float(), true
	}
	return 0, false
}

// none stands where there is no value.
const none = template.HTML(`<span class="muted">–</span>`)

// showNumber groups the digits of a whole number by thousands.
func showNumber(v any) template.HTML {
	n, ok := number(v)
	if !ok {
		return none
	}
	digits := fmt.Sprintf("%.0f", math.Abs(n))
	var b strings.Builder
	if n < 0 {
		b.WriteString("−")
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString(",")
		}
		b.WriteRune(d)
	}
	return template.HTML(b.String()) //nolint:gosec // digits
}

// showBytes shows a number of bytes in B, KiB, MiB or GiB.
func showBytes(v any) template.HTML {
	n, ok := number(v)
	if !ok {
		return none
	}
	unit := "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n < 1024 {
			break
		}
		n, unit = n/1024, next
	}
	format := "%.1f %s"
	if unit == "B" || n >= 100 {
		format = "%.0f %s"
	}
	return template.HTML(fmt.Sprintf(format, n, unit)) //nolint:gosec // digits and a unit
}

// whole reports whether a numeric value has a type without fractions.
func whole(v any) bool {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() != reflect.Float64 && t.Kind() != reflect.Float32
}

// showMS shows a number of milliseconds, or a duration. A whole number has been rounded down.
func showMS(v any) template.HTML {
	if d, ok := v.(time.Duration); ok {
		v = float64(d) / float64(time.Millisecond)
	}
	n, ok := number(v)
	whole := ok && whole(v)
	switch {
	case !ok:
		return none
	case whole && n < 1:
		return "under 1 ms"
	case n < 0.05:
		return "under 0.1 ms"
	case n < 10 && !whole:
		return template.HTML(fmt.Sprintf("%.1f ms", n)) //nolint:gosec // digits
	case n < 1000:
		return template.HTML(fmt.Sprintf("%.0f ms", n)) //nolint:gosec // digits
	case n < 60_000:
		return template.HTML(fmt.Sprintf("%.1f s", n/1000)) //nolint:gosec // digits
	}
	return template.HTML(span(time.Duration(n) * time.Millisecond)) //nolint:gosec // digits
}

// showPercent shows a part of 1. A part that is not all is never shown as 100 %.
func showPercent(v any) template.HTML {
	n, ok := number(v)
	if !ok {
		return none
	}
	p := math.Floor(n*1000) / 10
	if p == math.Trunc(p) {
		return template.HTML(fmt.Sprintf("%.0f %%", p)) //nolint:gosec // digits
	}
	return template.HTML(fmt.Sprintf("%.1f %%", p)) //nolint:gosec // digits
}

// span shows a duration in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// showAgo shows a time relative to now, with the exact time as the title. It takes a
// time.Time, a pointer to one, or an RFC 3339 text.
func showAgo(v any) template.HTML {
	var at time.Time
	switch v := v.(type) {
	case time.Time:
		at = v
	case *time.Time:
		if v != nil {
			at = *v
		}
	case string:
		at, _ = time.Parse(time.RFC3339Nano, v)
	case *string:
		if v != nil {
			at, _ = time.Parse(time.RFC3339Nano, *v)
		}
	}
	if at.IsZero() {
		return none
	}
	words := ""
	switch d := time.Since(at); {
	case d < 0:
		words = "in " + span(-d)
	default:
		words = span(d) + " ago"
	}
	words = strings.NewReplacer("in now", "now", "now ago", "now").Replace(words)
	at = at.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s" title="%s UTC">%s</time>`, //nolint:gosec // digits and fixed words
		at.Format(time.RFC3339Nano), at.Format("2006-01-02 15:04:05.000"), words))
}

// showShort shows the start of an id with a button that copies the whole.
func showShort(v any) template.HTML {
	id := fmt.Sprint(indirect(v))
	if id == "" || id == "<nil>" {
		return none
	}
	start := id
	if kind, rest, ok := strings.Cut(id, "_"); ok && len(rest) > 10 {
		start = kind + "_" + rest[:8] + "…"
	} else if len([]rune(id)) > 40 {
		start = string([]rune(id)[:39]) + "…"
	}
	whole := template.HTMLEscapeString(id)
	return template.HTML(fmt.Sprintf(`<span class="id"><code title="%s">%s</code>`+ //nolint:gosec // escaped
		`<button type="button" class="copy" data-copy="%s" aria-label="Copy %s" title="Copy"></button></span>`,
		whole, template.HTMLEscapeString(start), whole, whole))
}

func indirect(v any) any {
	r := reflect.ValueOf(v)
	for r.IsValid() && r.Kind() == reflect.Pointer {
		if r.IsNil() {
			return ""
		}
		r = r.Elem()
	}
	if !r.IsValid() {
		return ""
	}
	return r.Interface()
}

// tones are the classes of badges, by the API's words.
var tones = map[string]string{
	"delivered": "ok", "enabled": "ok", "completed": "ok", "verified": "ok", "active": "ok", "pass": "ok", "closed": "ok", "ready": "ok", "ok": "ok",
	"failed": "bad", "disabled": "bad", "expired": "bad", "fail": "bad", "open": "bad", "revoked": "bad", "error": "bad", "refused": "bad", "critical": "bad", "failing": "bad",
	"pending": "wait", "running": "wait", "retrying": "wait", "paused": "wait", "waiting": "wait", "unverified": "wait", "warning": "wait", "softfail": "wait",
	"warn": "wait", "degraded": "wait", "gone": "wait",
}

// showStatus shows a word of the API as a badge.
func showStatus(v any) template.HTML {
	word := fmt.Sprint(indirect(v))
	if word == "" {
		return none
	}
	tone := tones[word]
	if tone == "" {
		tone = "none"
	}
	return template.HTML(fmt.Sprintf(`<span class="badge %s">%s</span>`, tone, template.HTMLEscapeString(strings.ReplaceAll(word, "_", " ")))) //nolint:gosec // escaped
}

// sparkWidth and sparkHeight are the view box of a sparkline.
const (
	sparkWidth  = 120.0
	sparkHeight = 28.0
)

// showSparkline draws a slice of numbers as a line from 0 to the largest. label says what
// it shows, for people who do not see it.
func showSparkline(values any, label string) template.HTML {
	r := reflect.ValueOf(values)
	if r.Kind() != reflect.Slice || r.Len() < 2 {
		return none
	}
	most := 0.0
	points := make([]float64, r.Len())
	for i := range points {
		points[i], _ = number(r.Index(i).Interface())
		most = max(most, points[i])
	}
	var line strings.Builder
	for i, p := range points {
		y := sparkHeight - 2
		if most > 0 {
			y -= p / most * (sparkHeight - 4)
		}
		fmt.Fprintf(&line, "%.1f,%.1f ", float64(i)/float64(len(points)-1)*sparkWidth, y)
	}
	title := template.HTMLEscapeString(label)
	return template.HTML(fmt.Sprintf(`<svg class="spark" viewBox="0 0 %.0f %.0f" preserveAspectRatio="none" role="img" aria-label="%s"><title>%s</title>`+ //nolint:gosec // escaped
		`<polygon points="0,%.0f %s%.0f,%.0f"/><polyline points="%s"/></svg>`,
		sparkWidth, sparkHeight, title, title, sparkHeight, line.String(), sparkWidth, sparkHeight, line.String()))
}
