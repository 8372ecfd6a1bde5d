package console

import (
	"io"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// The frame's own answer forbids a mail's HTML to load and to run anything. What would be refused is left out besides, so
// that the browser asks for nothing, and reports no fault.

// dropped are elements that are left out with all that they hold.
var dropped = map[atom.Atom]bool{
	atom.Script: true, atom.Noscript: true, atom.Iframe: true, atom.Object: true, atom.Embed: true, atom.Applet: true, atom.Frame: true, atom.Frameset: true,
	atom.Link: true, atom.Meta: true, atom.Base: true, atom.Audio: true, atom.Video: true, atom.Source: true, atom.Track: true, atom.Template: true, atom.Svg: true, atom.Math: true,
}

// void are those of them that hold nothing.
var void = map[atom.Atom]bool{atom.Embed: true, atom.Frame: true, atom.Link: true, atom.Meta: true, atom.Base: true, atom.Source: true, atom.Track: true}

// loading are attributes that name something to load, or a place to go to.
var loading = map[string]bool{
	"src": true, "srcset": true, "href": true, "xlink:href": true, "background": true, "poster": true, "data": true, "action": true, "formaction": true,
	"ping": true, "manifest": true, "lowsrc": true, "dynsrc": true, "longdesc": true, "imagesrcset": true, "autofocus": true,
}

// loads reports whether a style may load something.
func loads(style string) bool {
	style = strings.ToLower(style)
	for _, part := range []string{"url", "image", "@import", "src", `\`, "/*"} {
		if strings.Contains(style, part) {
			return true
		}
	}
	return false
}

// calm leaves out of a mail's HTML what it would load or run. A link's address becomes its title.
func calm(text string) string {
	var out strings.Builder
	z := html.NewTokenizer(strings.NewReader(text))
	z.SetMaxBuf(len(text) + 1)
	var inside atom.Atom // a dropped element
	depth := 0
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() == io.EOF { //nolint:errorlint // it is never wrapped
				return out.String()
			}
			return ""
		}
		t := z.Token()
		switch {
		case depth > 0:
			if t.DataAtom == inside && kind == html.StartTagToken {
				depth++
			}
			if t.DataAtom == inside && kind == html.EndTagToken {
				depth--
			}
		case dropped[t.DataAtom] && kind == html.StartTagToken && !void[t.DataAtom]:
			inside, depth = t.DataAtom, 1
		case dropped[t.DataAtom], kind == html.CommentToken:
		case t.DataAtom == atom.Style && kind == html.StartTagToken:
			calmStyle(z, &out)
		case t.DataAtom == atom.Style: // its end is written with it
		case kind == html.StartTagToken || kind == html.SelfClosingTagToken:
			t.Attr = calmAttributes(t.Attr)
			out.WriteString(t.String())
		default:
			out.WriteString(t.String())
		}
	}
}

// calmStyle writes a style element, unless it may load something.
func calmStyle(z *html.Tokenizer, out *strings.Builder) {
	if z.Next() != html.TextToken {
		return
	}
	if style := string(z.Raw()); !loads(style) {
		out.WriteString("<style>" + style + "</style>")
	}
}

func calmAttributes(in []html.Attribute) (out []html.Attribute) {
	for _, a := range in {
		switch {
		case a.Key == "href" && strings.TrimSpace(a.Val) != "":
			out = append(out, html.Attribute{Key: "title", Val: a.Val})
		case loading[a.Key], strings.HasPrefix(a.Key, "on"), a.Key == "style" && loads(a.Val):
		default:
			out = append(out, a)
		}
	}
	return out
}
