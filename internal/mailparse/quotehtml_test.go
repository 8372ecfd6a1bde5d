package mailparse

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Quotations as mail programs mark them in HTML.
func TestRepliesInHTMLAreToldFromWhatTheyQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`<div>My answer</div><div class="gmail_quote">On Mon, A wrote:<blockquote>old</blockquote></div>`: `<div>My answer</div>`,
		`<div dir="ltr">Yes<div>Ann</div></div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">On Mon, Jan 1, 2024 at 10:00 AM Bob &lt;<a href="mailto:bob@x.example">bob@x.example</a>&gt; wrote:<br></div><blockquote class="gmail_quote">old<div>x</div></blockquote></div>`: `<div dir="ltr">Yes<div>Ann</div></div><br>`,
		`<html><head><title>x</title></head><body><div>Yes</div><div><br><blockquote type="cite"><div>On Jan 1, 2024, at 10:00, Bob wrote:</div><div>old</div></blockquote></div></body></html>`:                                                                                                                     `<html><head><title>x</title></head><body><div>Yes</div><div><br></div></body></html>`,
		`<p>Yes</p><div class="moz-cite-prefix">On 1/1/24 10:00, Bob wrote:<br></div><blockquote type="cite" cite="mid:x"><p>old</p></blockquote>`:                                                                                                                                                                   `<p>Yes</p>`,
		`<p>Yes</p><div>Am 01.01.2024 um 10:00 schrieb Bob:</div><blockquote type=cite>old</blockquote>`:                                                                                                                                                                                                             `<p>Yes</p>`,
		`<div>Yes</div><div>01.01.2024, 10:00, "Bob" &lt;bob@x.example&gt;:</div><blockquote><p>old</p></blockquote>`:                                                                                                                                                                                                `<div>Yes</div>`,
		`Yes<br><br>On 1/1/24 10:00, Bob wrote:<br><blockquote>old</blockquote>`:                                                                                                                                                                                                                                     `Yes<br>`,
		`<div>Yes</div><div id="appendonsend"></div><hr><div id="divRplyFwdMsg"><b>From:</b> Bob</div><div>old</div></body>`:                                                                                                                                                                                         `<div>Yes</div>`,
		`<body><div class=WordSection1><p class=MsoNormal>Yes</p><div><div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0in 0in 0in'><p><b>From:</b> Bob<br><b>Sent:</b> Monday</p></div></div><p>old</p></div></body>`:                                                                           `<body><div class=WordSection1><p class=MsoNormal>Yes</p><div></div></div></body>`,
		`<div>Yes</div><div class="yahoo_quoted" id="x"><div>On Monday, Bob wrote:</div>old</div>`:                                                                                                                                                                                                                   `<div>Yes</div>`,
		`<div>Yes</div><div class="protonmail_quote">On Monday<blockquote>old</blockquote></div>`:                                                                                                                                                                                                                    `<div>Yes</div>`,
		`<div>Yes</div><div class="gmail_quote">old</div><div class="gmail_signature">Ann</div>`:                                                                                                                                                                                                                     `<div>Yes</div><div class="gmail_signature">Ann</div>`,
		`<div>Yes</div><hr id="zwchr" data-marker="__DIVIDER__"><div data-marker="__HEADERS__"><b>From:</b> x</div><div>old</div>`:                                                                                                                                                                                   `<div>Yes</div>`,
		`<div>Yes</div><div class="gmail_quote">never closed <div>old`:                                                                                                                                                                                                                                               `<div>Yes</div>`,
		`<div><div>Yes</div><blockquote type="CITE">a<blockquote type="cite">b</blockquote>c</blockquote></div>`:                                                                                                                                                                                                     `<div><div>Yes</div></div>`,
		`<div>Yes</div><x-y name="messageReplySection">On Monday old</x-y>`:                                                                                                                                                                                                                                          `<div>Yes</div>`,
	} {
		got, ok := StripQuotationHTML(in)
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{
		"", "<p>Yes</p>", `<div class="gmail_quote">only quoted</div>`, `<div style="display:none">x</div><div class="gmail_quote">only quoted</div>`,
		`<div class="gmail_quote">a</div><p>below it</p>`, `<p>Yes</p><blockquote type=cite>a</blockquote><p>and</p><blockquote type=cite>b</blockquote>`,
		`<p>A saying:</p><blockquote>to be</blockquote>`, `<div>On 1/1/24 10:00, Bob wrote:</div><blockquote type=cite>old</blockquote>`, `<p>&nbsp;</p><blockquote type=cite>old</blockquote>`,
	} {
		got, ok := StripQuotationHTML(in)
		require.False(t, ok, "%s: %s", in, got)
	}
}

// The text of a reply is found where only the HTML shows it.
func TestAReplyIsFoundByItsHTML(t *testing.T) {
	t.Parallel()
	m := Parse(context.Background(), []byte("From: a@x.example\r\nContent-Type: text/html\r\n\r\n<div>My <b>answer</b></div><div class=yahoo_quoted>old text without marks</div>"))
	require.Equal(t, "My answer", *m.Reply)
	require.Equal(t, "<div>My <b>answer</b></div>", *m.ReplyHTML)
	m = Parse(context.Background(), []byte("From: a@x.example\r\nContent-Type: text/html\r\n\r\n<div>My answer</div>"))
	require.Nil(t, m.Reply)
	require.Nil(t, m.ReplyHTML)
}
