package mailparse

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// One instant, as real programs write it.
func TestDatesAreReadAsMailProgramsDo(t *testing.T) {
	t.Parallel()
	want := time.Date(2024, 7, 17, 19, 2, 19, 0, time.UTC)
	for _, in := range []string{
		"Wed, 17 Jul 2024 19:02:19 +0000", "17 Jul 2024 19:02:19 +0000", "Wed, 17 Jul 2024 15:02:19 -0400",
		"Wed, 17 Jul 2024 15:02:19 EDT", "Wed, 17 Jul 2024 12:02:19 PDT", "Wed, 17 Jul 2024 14:02:19 EST", "Wed, 17 Jul 2024 21:02:19 CEST",
		"Wed, 17 Jul 2024 19:02:19 GMT", "Wed, 17 Jul 2024 19:02:19 UT", "Wed, 17 Jul 2024 19:02:19 Z", "Wed, 17 Jul 2024 19:02:19",
		"Wed, 17 Jul 2024 19:02:19 (UTC)", "Wed, 17 Jul 2024 12:02:19 (PDT)", "Wed, 17 Jul 2024 12:02:19 (PDT) -0700",
		"Wed, 17 Jul 2024 12:02:19 -0700 (PDT)", "Wed, 17 Jul 2024 12:02:19 -0700 (Pacific (Daylight) Time)", "Wed, 17 Jul 2024 19:02:19 -0000",
		"Wed, 17 Jul 2024 21:02:19 +02:00", "Wed, 17 Jul 2024 21:02:19 GMT+0200", "Wed, 17 Jul 2024 21:02:19 GMT+02:00 (CEST)",
		"Wed, 17 Jul 2024 21:02:19 UTC+2", "Wed, 17 Jul 2024 21:02:19 +0200 CEST", "Wed, 17 Jul 2024 15:02:19 -0400 EDT",
		"Wed, 17 Jul 2024 19:02:19 +0000 (GMT+00:00)", "Wed, 17 Jul 2024 19:02:19.123 +0000", "Wed, 17 Jul 24 19:02:19 GMT", "Wed, 17 Jul 124 19:02:19 GMT",
		"Wed,17 Jul 2024 19:02:19 +0000", "wed, 17 JUL 2024 19:02:19 +0000", "Wednesday, 17 July 2024 19:02:19 +0000", "Wed 17 Jul 2024 19:02:19 +0000",
		"Wed, 17-Jul-2024 19:02:19 GMT", "Wednesday, 17-Jul-24 19:02:19 GMT", "Wed Jul 17 19:02:19 2024", "Wed Jul 17 15:02:19 EDT 2024", "Wed Jul 17 19:02:19 2024 +0000",
		"Jul 17, 2024 7:02:19 PM", "July 17, 2024 7:02:19 PM +0000", "Jul 17 2024 07:02:19PM", "2024-07-17T19:02:19Z", "2024-07-17T15:02:19-04:00", "2024-07-17 19:02:19 +0000", "2024-07-17 19:02:19",
		"2024/07/17 19:02:19 +0000", "Wed, 17 Jul 2024 19.02.19 +0000", "Wed, 17 Jul 2024 19:02:19 +0000 ", "\"Wed, 17 Jul 2024 19:02:19 +0000\"", "Tue, 17 Jul 2024 19:02:19 +0000",
		"Wed, (a comment) 17 Jul 2024 19:02:19 +0000", "Wed, 17 Jul 2024 20:02:19 BST", "Thu, 18 Jul 2024 04:02:19 JST", "Wed, 17 Jul 2024 19 : 02 : 19 +0000",
		"Wed, 17 Jul 2024 19:02:19 A", "Wed,\t17 Jul 2024\t19:02:19 +0000", "Wed, 17 Jul 2024 15:02:19 \"EDT\"", "Wed, 17 Jul 2024, 19:02:19 +0000", "Wed, 17 Jul 2024 19:02:19 +0000; extra",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, ok := Date(in)
			require.True(t, ok)
			require.True(t, want.Equal(got), "%s", got)
		})
	}
	for in, want := range map[string]string{
		"Mon, 1 Jan 96 10:00:00 GMT": "1996-01-01T10:00:00Z", "Mon, 1 Jan 49 10:00 GMT": "2049-01-01T10:00:00Z", "31 Dec 2016 23:59:60 +0000": "2017-01-01T00:00:00Z",
		"Fri, 1 Mar 2024 10:00:00 +0545": "2024-03-01T10:00:00+05:45", "1 Jan 2024 12:00 AM": "2024-01-01T00:00:00Z", "1 Jan 2024 12:00 PM": "2024-01-01T12:00:00Z",
		"Mon, 1 Jan 2024 10:00:00 +9999": "2024-01-01T10:00:00Z", "Mon, 1 Jan 2024 24:00:00 GMT": "2024-01-02T00:00:00Z",
	} {
		got, ok := Date(in)
		require.True(t, ok, in)
		require.Equal(t, want, got.Format(time.RFC3339), in)
	}
	for _, in := range []string{"", "yesterday", "17", "Jul 2024", "30 Feb 2024 10:00:00 GMT", "1 Jan 2024 25:00:00 GMT", "1 Jan 2024 10:61 GMT", "17/07/2024 10:00", "\xff\xfe", ":", "::", "-:-", "1 Jan 99999 10:00:00 GMT", "1 Jan 0 10:00"} {
		got, ok := Date(in)
		if in == "1 Jan 0 10:00" {
			require.Equal(t, 2000, got.Year(), in)
			continue
		}
		require.False(t, ok, "%q: %s", in, got)
	}
}
