package milter

import (
	"strings"
	"testing"

	"github.com/d--j/go-milter"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events/email"
)

func told(headers ...string) email.Milter {
	m := email.Milter{Name: "m", Action: email.MilterAccept, Headers: [][2]string{}}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		tell(&m, name, value)
	}
	judge(&m)
	return m
}

func TestScoresAreReadFromTheFieldsOfFilters(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]struct {
		score any
		spam  any
	}{
		"X-Spam-Score: 5.2":                    {5.2, nil},
		"x-spam-score: -0.1 (/)":               {-0.1, nil},
		"X-Rspamd-Score: 11":                   {11.0, nil},
		"X-Spam-Status: Yes, score=15.00":      {15.0, true},
		"X-Spam-Status: No, hits=1 required=5": {1.0, false},
		"X-Spam: Yes":                          {nil, true},
		"X-Spam-Flag: YES":                     {nil, true},
		"X-Spam-Score: NaN":                    {nil, nil},
		"X-Spam-Score: 1e999":                  {nil, nil},
		"X-Spam-Score: high":                   {nil, nil},
		"X-Spam-Level: *****":                  {nil, nil},
		"X-Spamd-Result: default: [":           {nil, nil},
		"X-Spam-Status: score=, maybe":         {nil, nil},
		"Subject: X-Spam-Score: 5":             {nil, nil},

		"X-Spamd-Result: default: False [5.20 / 15.00];\n\tGTUBE(0.00)[]": {5.2, nil},
	} {
		m := told(header)
		if want.score == nil {
			require.Nil(t, m.Score, header)
		} else {
			require.Equal(t, want.score, *m.Score, header)
		}
		if want.spam == nil {
			require.Nil(t, m.Spam, header)
		} else {
			require.Equal(t, want.spam, *m.Spam, header)
		}
	}
}

func TestWhatMiltersSayIsBoundedAndComesThroughTheBroker(t *testing.T) {
	t.Parallel()
	var list []email.Milter
	for range MaxMilters {
		m := told("X-Spam-Score: 1", "X-Long: "+strings.Repeat("\"", 2*toldValue))
		for range 2 * toldHeaders {
			tell(&m, "X-Odd", "<ä\x01\u2028>\r\n\tfold\xff"+strings.Repeat("\\", 200))
		}
		require.True(t, m.Truncated)
		require.LessOrEqual(t, len(m.Headers), toldHeaders)
		list = append(list, m)
	}
	text := Encode(list)
	require.LessOrEqual(t, len(text), MaxVerdictBytes)
	require.NotContains(t, text, "\n")
	again, err := Decode(text)
	require.NoError(t, err)
	require.Equal(t, list, again)
	for _, bad := range []string{
		"{}", "x", `[{"name":"a b","action":"accept"}]`, `[{"name":"a","action":"reject"}]`, "[" + strings.Repeat(`{"name":"a","action":"accept"},`, MaxMilters) + `{"name":"a","action":"accept"}]`,
		strings.Repeat(" ", MaxVerdictBytes) + "[]",
	} {
		_, err := Decode(bad)
		require.Error(t, err, "%.60s", bad)
	}
	short, err := Decode(`[{"name":"a","action":"accept","other":1,"reason":"x\u0000y","headers":[["A\u0000","b\r\n c\u0000"]]}]`)
	require.NoError(t, err)
	require.Equal(t, []email.Milter{{Name: "a", Action: email.MilterAccept, Reason: "xy", Headers: [][2]string{{"A", "b c"}}}}, short)
}

func TestAReplyOfAMilterIsOneLine(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]Refusal{
		"550 5.7.9 no":                           {"m", 550, [3]int{5, 7, 9}, "no"},
		"550-5.7.9 no\r\n550 5.7.9 more":         {"m", 550, [3]int{5, 7, 9}, "no more"},
		"550 no\r\n250 2.0.0 fine":               {"m", 550, [3]int{5, 7, 1}, "no"},
		"550-no\r\n250 2.0.0 fine":               {"m", 550, [3]int{5, 7, 1}, "no"},
		"550 4.7.1 a code of another class":      {"m", 550, [3]int{5, 7, 1}, "a code of another class"},
		"451 \x01\xff\xe4":                       {"m", 451, [3]int{4, 7, 1}, "?"},
		"421 4.7.0 bye":                          {"m", 451, [3]int{4, 7, 1}, "bye"},
		"554 ":                                   {"m", 554, [3]int{5, 7, 1}, "Refused by the filter m"},
		"554 5.7.1 " + strings.Repeat("x", 4096): {"m", 554, [3]int{5, 7, 1}, strings.Repeat("x", maxReply)},
	} {
		code := 0
		for _, c := range reply[:3] {
			code = 10*code + int(c-'0')
		}
		got := refusal("m", &milter.Action{Type: milter.ActionRejectWithCode, SMTPCode: uint16(code), SMTPReply: reply})
		if strings.HasPrefix(reply, "421") {
			require.Equal(t, want.Code, got.Code)
			continue
		}
		require.Equal(t, want, *got, "%.40q", reply)
	}
}
