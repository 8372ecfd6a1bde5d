package tenancy

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	_ "image/jpeg" // the formats of logos
	_ "image/png"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// The limits of a portal link's theme and origins.
const (
	MaxPortalOrigins = 10
	maxOriginBytes   = 300
	MaxLogoBytes     = 32 << 10
	maxLogoPixels    = 1024 // of a side
)

// PortalLanguages are the languages of the portal's pages. The first is the default.
var PortalLanguages = []string{"en", "de"}

// Theme is how the portal's pages look. The zero value is Fanmail's own look, in
// English.
type Theme struct {
	Accent     string `json:"accent,omitempty" pattern:"^#[0-9a-fA-F]{6}$" example:"#0a5bd3" doc:"The colour of links and buttons."`
	Ink        string `json:"ink,omitempty" pattern:"^#[0-9a-fA-F]{6}$" doc:"The colour of text."`
	Background string `json:"background,omitempty" pattern:"^#[0-9a-fA-F]{6}$" doc:"The colour behind everything."`
	Card       string `json:"card,omitempty" pattern:"^#[0-9a-fA-F]{6}$" doc:"The colour behind tables and panels."`
	Line       string `json:"line,omitempty" pattern:"^#[0-9a-fA-F]{6}$" doc:"The colour of borders."`
	Logo       string `json:"logo,omitempty" maxLength:"44000" doc:"A PNG or JPEG as a data: URL in base64, of at most 32 KiB and 1024 pixels a side. An image at another address would tell its server who looks."`
	Language   string `json:"language,omitempty" enum:"en,de" doc:"The language of the pages; en by default."`
}

// Colours returns the colours that are set, by the name of their CSS variable.
func (t *Theme) Colours() map[string]string {
	out := map[string]string{}
	for name, value := range map[string]string{
		"--accent": t.Accent, "--ink": t.Ink, "--ground": t.Background, "--card": t.Card, "--line": t.Line,
	} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

func (t *Theme) validate() error {
	for _, c := range []struct{ field, value string }{
		{"accent", t.Accent}, {"ink", t.Ink}, {"background", t.Background}, {"card", t.Card}, {"line", t.Line},
	} {
		if c.value != "" && !colour(c.value) {
			return &events.FieldError{Field: "theme." + c.field, Reason: "must be a colour such as #0a5bd3"}
		}
	}
	if t.Language != "" && !slices.Contains(PortalLanguages, t.Language) {
		return &events.FieldError{Field: "theme.language", Reason: "must be one of " + strings.Join(PortalLanguages, ", ")}
	}
	if t.Logo != "" {
		if _, _, err := t.LogoImage(); err != nil {
			return &events.FieldError{Field: "theme.logo", Reason: err.Error()}
		}
	}
	return nil
}

func colour(text string) bool {
	return len(text) == 7 && text[0] == '#' && strings.Trim(text[1:], "0123456789abcdefABCDEF") == ""
}

// LogoImage returns the bytes of the logo and its media type. Without a logo, the bytes
// are nil.
func (t *Theme) LogoImage() (content []byte, mediaType string, err error) {
	if t.Logo == "" {
		return nil, "", nil
	}
	for _, kind := range []string{"png", "jpeg"} {
		text, ok := strings.CutPrefix(t.Logo, "data:image/"+kind+";base64,")
		if !ok {
			continue
		}
		if content, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, "", fmt.Errorf("is not in base64 after the comma")
		}
		if len(content) > MaxLogoBytes {
			return nil, "", fmt.Errorf("has %d bytes; the limit is %d", len(content), MaxLogoBytes)
		}
		size, format, err := image.DecodeConfig(bytes.NewReader(content))
		if err != nil || format != kind {
			return nil, "", fmt.Errorf("is no image of the type %s", kind)
		}
		if size.Width > maxLogoPixels || size.Height > maxLogoPixels {
			return nil, "", fmt.Errorf("has %d × %d pixels; the limit is %d a side", size.Width, size.Height, maxLogoPixels)
		}
		return content, "image/" + kind, nil
	}
	return nil, "", fmt.Errorf("must begin with data:image/png;base64, or data:image/jpeg;base64,")
}

// checkOrigins checks the origins whose pages may embed a portal. They stand in a header,
// so that each must be exactly a scheme, a host and a port.
func checkOrigins(origins []string, allowHTTP bool) error {
	if len(origins) > MaxPortalOrigins {
		return &events.FieldError{Field: "origins", Reason: fmt.Sprintf("has %d origins; the limit is %d", len(origins), MaxPortalOrigins)}
	}
	for i, o := range origins {
		if reason := originFault(o, allowHTTP); reason != "" {
			return &events.FieldError{Field: fmt.Sprintf("origins[%d]", i), Reason: reason}
		}
	}
	return nil
}

func originFault(origin string, allowHTTP bool) string {
	const form = "must be an origin such as https://app.example.com: scheme, host and port, in lower case, without a path or a *"
	if len(origin) > maxOriginBytes {
		return fmt.Sprintf("has %d bytes; the limit is %d", len(origin), maxOriginBytes)
	}
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || u.Scheme+"://"+u.Host != origin || strings.Trim(u.Host, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]") != "" {
		return form
	}
	switch u.Scheme {
	case "https":
		return ""
	case "http":
		address, err := netip.ParseAddr(u.Hostname())
		if allowHTTP && (u.Hostname() == "localhost" || err == nil && address.IsLoopback()) {
			return ""
		}
		return "must be https; http is for loopback addresses, where the server allows plain HTTP"
	}
	return form
}
