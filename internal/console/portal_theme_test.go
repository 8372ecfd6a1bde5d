package console

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAThemeIsLegibleInBothSchemes tries themes that name dark, light and few colours.
func TestAThemeIsLegibleInBothSchemes(t *testing.T) {
	t.Parallel()
	colours := []string{"", "#000000", "#ffffff", "#0a5bd3", "#ffee00", "#808080", "#0b2545"}
	for scheme, palette := range palettes {
		for _, accent := range colours {
			for _, ground := range colours {
				theme := map[string]string{}
				for name, c := range map[string]string{"--accent": accent, "--ink": accent, "--ground": ground} {
					if c != "" {
						theme[name] = c
					}
				}
				got := themed(theme, palette)
				of := func(name string) string {
					if c := got[name]; c != "" {
						return c
					}
					return palette[name]
				}
				for _, text := range []string{"--ink", "--muted", "--accent"} {
					for _, under := range []string{"--ground", "--card"} {
						require.GreaterOrEqual(t, contrast(of(text), of(under)), 4.5, "%s on %s, %s, theme %v gives %v", text, under, scheme, theme, got)
					}
				}
				if on := got["--on-accent"]; on != "" {
					require.GreaterOrEqual(t, contrast(on, got["--accent"]), 4.5)
				}
			}
		}
	}
	require.Nil(t, themed(nil, palettes["dark"]), "no theme changes nothing")
	require.Equal(t, "#0a5bd3", themed(map[string]string{"--accent": "#0a5bd3"}, palettes["light"])["--accent"], "what can be read stays")
}

func TestPalettesAreThoseOfTheStyleSheet(t *testing.T) {
	t.Parallel()
	css, err := os.ReadFile("assets/console.css")
	require.NoError(t, err)
	light, rest, found := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	require.True(t, found)
	dark, _, _ := strings.Cut(rest, "*, *::before")
	for scheme, text := range map[string]string{"light": light, "dark": dark} {
		for name, colour := range palettes[scheme] {
			require.Contains(t, text, name+": "+colour+";", scheme)
		}
	}
}
