package mailparse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Addresses as real programs write them.
func TestAddressesAreReadAsMailProgramsDo(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]Address{
		"a@x.example":       {{"", "a@x.example"}},
		"<a@x.example>":     {{"", "a@x.example"}},
		"Ann <a@x.example>": {{"Ann", "a@x.example"}},
		"Ann<a@x.example>":  {{"Ann", "a@x.example"}},
		`"Smith, Ann" <a@x.example>, b@y.example`:                 {{"Smith, Ann", "a@x.example"}, {"", "b@y.example"}},
		`"Ann \"The\" Smith" <a@x.example>`:                       {{`Ann "The" Smith`, "a@x.example"}},
		"a@x.example (Ann Smith)":                                 {{"Ann Smith", "a@x.example"}},
		"(Ann) a@x.example":                                       {{"Ann", "a@x.example"}},
		"<a@x.example> (Ann)":                                     {{"Ann", "a@x.example"}},
		"Ann (in (the) office) <a@x.example>":                     {{"Ann", "a@x.example"}},
		"ceo@bank.example <evil@x.example>":                       {{"ceo@bank.example", "evil@x.example"}},
		`"ceo@bank.example" <evil@x.example>`:                     {{"ceo@bank.example", "evil@x.example"}},
		"bob@x.example <bob@x.example>":                           {{"bob@x.example", "bob@x.example"}},
		"ceo@bank.example via X <evil@x.example>":                 {{"ceo@bank.example via X", "evil@x.example"}},
		"<ceo@bank.example> <evil@x.example>":                     {{"", "ceo@bank.example"}, {"", "evil@x.example"}},
		"Ann < a@x.example >":                                     {{"Ann", "a@x.example"}},
		"Ann <a@ x.example>":                                      {{"Ann", "a@x.example"}},
		"Ann <a @x . example>":                                    {{"Ann", "a@x.example"}},
		"a @ x . example":                                         {{"", "a@x.example"}},
		"Ann a@x.example":                                         {{"Ann", "a@x.example"}},
		"a@x.example Ann":                                         {{"Ann", "a@x.example"}},
		"Ann Smith [a@x.example]":                                 {{"Ann Smith", "a@x.example"}},
		"Ann Smith [mailto:a@x.example]":                          {{"Ann Smith", "a@x.example"}},
		"Ann <mailto:a@x.example>":                                {{"Ann", "a@x.example"}},
		"mailto:a@x.example":                                      {{"", "a@x.example"}},
		"Ann <<a@x.example>>":                                     {{"Ann", "a@x.example"}},
		"Ann <a@x.example":                                        {{"Ann", "a@x.example"}},
		"Ann <a@x.example, Ben <b@x.example>":                     {{"Ann", "a@x.example"}, {"Ben", "b@x.example"}},
		"Ann <a@x.example> Ben <b@x.example>":                     {{"Ann", "a@x.example"}, {"Ben", "b@x.example"}},
		"Ann <a@x.example>; Ben <b@x.example>":                    {{"Ann", "a@x.example"}, {"Ben", "b@x.example"}},
		"a@x.example;b@x.example;":                                {{"", "a@x.example"}, {"", "b@x.example"}},
		"a@x.example,, ,b@x.example,":                             {{"", "a@x.example"}, {"", "b@x.example"}},
		"'a@x.example'":                                           {{"", "a@x.example"}},
		"'Ann' <a@x.example>":                                     {{"'Ann'", "a@x.example"}},
		"<@relay.example,@b.example:a@x.example>":                 {{"", "a@x.example"}},
		"Ann <@relay.example:a@x.example>, b@x.example":           {{"Ann", "a@x.example"}, {"", "b@x.example"}},
		"MAILER-DAEMON <>":                                        {{"MAILER-DAEMON", ""}},
		`"Mail Delivery System" <>`:                               {{"Mail Delivery System", ""}},
		"Cron <root>":                                             {{"Cron", "root"}},
		"undisclosed-recipients:;":                                {},
		"Undisclosed recipients: ;":                               {},
		"Team: a@x.example, Ben <b@x.example>;, c@x.example":      {{"", "a@x.example"}, {"Ben", "b@x.example"}, {"", "c@x.example"}},
		`"john..doe"@x.example`:                                   {{"", `"john..doe"@x.example`}},
		`"john.doe"@x.example`:                                    {{"", "john.doe@x.example"}},
		`Ann <"a b"@x.example>`:                                   {{"Ann", `"a b"@x.example`}},
		`Ann <"a\"b"@x.example>`:                                  {{"Ann", `"a\"b"@x.example`}},
		`"a@b"@x.example`:                                         {{"", `"a@b"@x.example`}},
		"a..b@x.example, .c@x.example, d.@x.example":              {{"", "a..b@x.example"}, {"", ".c@x.example"}, {"", "d.@x.example"}},
		"a@[192.0.2.1]":                                           {{"", "a@[192.0.2.1]"}},
		"Ann <a@[IPv6:2001:db8::1]>":                              {{"Ann", "a@[IPv6:2001:db8::1]"}},
		"=?utf-8?q?Ann_M=C3=BCller?= <a@x.example>":               {{"Ann Müller", "a@x.example"}},
		`"=?utf-8?q?Ann_M=C3=BCller?=" <a@x.example>`:             {{"Ann Müller", "a@x.example"}},
		"=?utf-8?q?M=C3=BCller,_Ann?= <a@x.example>":              {{"Müller, Ann", "a@x.example"}},
		"=?utf-8?Q?M=C3=BCller, Ann?= <a@x.example>, b@x.example": {{"Müller, Ann", "a@x.example"}, {"", "b@x.example"}},
		"=?utf-8*en?q?Ann?= <a@x.example>":                        {{"Ann", "a@x.example"}},
		"=?utf-8?b?QW5u?= =?utf-8?q?a?= <a@x.example>":            {{"Anna", "a@x.example"}},
		"a@x.example (=?utf-8?q?M=C3=BCller?=)":                   {{"Müller", "a@x.example"}},
		"Müller <a@x.example>":                                    {{"Müller", "a@x.example"}},
		"M\xfcller <a@x.example>":                                 {{"Müller", "a@x.example"}},
		"用户@例子.example":                                           {{"", "用户@例子.example"}},
		"Ann Q. Smith <a@x.example>":                              {{"Ann Q. Smith", "a@x.example"}},
		"Dr. Ann <a@x.example>":                                   {{"Dr. Ann", "a@x.example"}},
		"Ann: Sales <a@x.example>":                                {{"Sales", "a@x.example"}},
		"Ann\tSmith\t<a@x.example>":                               {{"Ann Smith", "a@x.example"}},
		`"Ann Smith <a@x.example>`:                                {{`"Ann Smith`, "a@x.example"}},
		"a@x.example b@x.example":                                 {{"", "a@x.example"}, {"", "b@x.example"}},
		`Ann "The Boss" Smith <a@x.example>`:                      {{"Ann The Boss Smith", "a@x.example"}},
		"Ann <a@x.example>.":                                      {{"Ann", "a@x.example"}},
		"Ann, Smith <a@x.example>":                                {{"Smith", "a@x.example"}},
		"Ann@Home <a@x.example>":                                  {{"Ann@Home", "a@x.example"}},
		"Ann @ Home <a@x.example>":                                {{"Ann @ Home", "a@x.example"}},
		"":                                                        {},
		"nobody":                                                  {},
		"<>":                                                      {},
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, _, cut := Addresses([]string{in}, 100)
			require.Equal(t, want, got)
			require.False(t, cut)
		})
	}
}

func TestUnreadableAddressesAreLeftOutAndSaid(t *testing.T) {
	t.Parallel()
	got, ok, cut := Addresses([]string{"a@x.example, broken, b@x.example", "c@x.example"}, 100)
	require.Equal(t, []Address{{"", "a@x.example"}, {"", "b@x.example"}, {"", "c@x.example"}}, got)
	require.False(t, ok)
	require.False(t, cut)
	got, ok, cut = Addresses([]string{strings.Repeat("a@x.example,", 10)}, 4)
	require.Len(t, got, 4)
	require.True(t, ok)
	require.True(t, cut)
	got, _, cut = Addresses([]string{strings.Repeat("a@x.example,", 10_000)}, 1<<20)
	require.Greater(t, len(got), 5000)
	require.True(t, cut, "a field is read up to its limit")
}
