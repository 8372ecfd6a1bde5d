package console

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// palettes are the colours of console.css in the light and in the dark scheme that a theme changes, or that must stay
// legible beside those.
var palettes = map[string]map[string]string{
	"light": {"--ink": "#1a1d24", "--muted": "#5b6270", "--accent": "#4338ca", "--ground": "#f7f8fa", "--card": "#ffffff"},
	"dark":  {"--ink": "#e6e8ee", "--muted": "#9aa2b1", "--accent": "#a5b0ff", "--ground": "#101218", "--card": "#171a21"},
}

// enoughContrast is what WCAG AA asks of text, with a margin for rounding.
const enoughContrast = 4.6

// portalTheme sets the theme's colours. A style sheet is the only place for them: the
// policy allows no style in a page.
func portalTheme(c *call, link *tenancy.Portal) error {
	c.w.Header().Set("Content-Type", "text/css; charset=utf-8")
	colours := link.Theme.Colours()
	_, _ = fmt.Fprintf(c.w, ":root {%s }\n@media (prefers-color-scheme: dark) { :root {%s } }\n",
		declarations(themed(colours, palettes["light"])), declarations(themed(colours, palettes["dark"])))
	return nil
}

func declarations(colours map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(colours)) {
		_, _ = fmt.Fprintf(&b, " %s: %s;", name, colours[name])
	}
	return b.String()
}

// themed returns what a theme changes in a palette. A colour of text that could not be read on the theme's or the
// palette's grounds is made lighter or darker: a theme names one colour for both schemes.
func themed(theme, palette map[string]string) map[string]string {
	if len(theme) == 0 {
		return nil
	}
	out := maps.Clone(theme)
	ground, card := theme["--ground"], theme["--card"]
	if ground != "" || card != "" {
		// Text stands on both, so one that is not named follows the other.
		if ground == "" {
			ground = card
		}
		if card == "" {
			card = ground
		}
		out["--ground"], out["--card"] = ground, card
		out["--hover"] = "color-mix(in srgb, var(--card) 94%, var(--ink))"
	} else {
		ground, card = palette["--ground"], palette["--card"]
	}
	for _, name := range []string{"--ink", "--muted", "--accent"} {
		colour := theme[name]
		if colour == "" {
			colour = palette[name]
		}
		if read := legible(colour, ground, card); read != palette[name] {
			out[name] = read
		}
	}
	if accent := out["--accent"]; accent != "" {
		out["--on-accent"] = readable(accent)
		out["--accent-soft"] = "color-mix(in srgb, var(--card) 90%, var(--accent))"
	}
	return out
}

// legible returns the colour, mixed with as little white or black as it needs to be read on all grounds. Where the
// grounds leave no such colour it returns white or black, whichever is read better.
func legible(colour string, grounds ...string) string {
	least := func(c string) float64 {
		worst := math.Inf(1)
		for _, g := range grounds {
			worst = min(worst, contrast(c, g))
		}
		return worst
	}
	end := "#ffffff"
	if least("#000000") > least(end) {
		end = "#000000"
	}
	for share := 0.0; share < 1; share += 0.05 {
		if mixed := mix(colour, end, share); least(mixed) >= enoughContrast {
			return mixed
		}
	}
	return end
}

// mix returns a colour with a share of another, from 0 to 1.
func mix(colour, other string, share float64) string {
	if share == 0 {
		return colour
	}
	a, b := channels(colour), channels(other)
	var m [3]int
	for i := range m {
		m[i] = int(math.Round(a[i]*(1-share) + b[i]*share))
	}
	return fmt.Sprintf("#%02x%02x%02x", m[0], m[1], m[2])
}

// channels are red, green and blue of a colour #rrggbb, from 0 to 255.
func channels(colour string) [3]float64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	return [3]float64{float64(n >> 16 & 0xff), float64(n >> 8 & 0xff), float64(n & 0xff)}
}

// luminance is the relative luminance of a colour, as WCAG defines it.
func luminance(colour string) float64 {
	c := channels(colour)
	for i, v := range c {
		if v /= 255; v <= 0.04045 {
			c[i] = v / 12.92
		} else {
			c[i] = math.Pow((v+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2]
}

// contrast is the contrast ratio of two colours, from 1 to 21.
func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// readable is black or white, whichever has more contrast on a colour.
func readable(colour string) string {
	if contrast("#000000", colour) > contrast("#ffffff", colour) {
		return "#000000"
	}
	return "#ffffff"
}

func portalLogo(c *call, link *tenancy.Portal) error {
	content, kind, err := link.Theme.LogoImage()
	if err != nil || content == nil {
		return refused(http.StatusNotFound, "There is no logo.")
	}
	c.w.Header().Set("Content-Type", kind)
	_, _ = c.w.Write(content)
	return nil
}
