package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAQuotaIsSeenAndChangedFromTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := up(t)
	other := object(t, must(t, dir, "", "tenants", "create", "other", "--json"))["id"].(string)
	key := object(t, must(t, dir, "", "keys", "create", "--tenant", other, "--json"))["secret"].(string)
	must(t, dir, "", "webhooks", "create", "--url", "http://127.0.0.1:8099/", "--events", "email.sent", "--key", key)

	out := must(t, dir, "", "tenants", "quota", other)
	require.Regexp(t, `(?m)^LIMIT +USED +MOST +SET BY$`, out)
	require.Regexp(t, `(?m)^webhooks +1 +50 +default$`, out)
	require.Regexp(t, `(?m)^events_per_day +0 +5000000 +default$`, out)
	require.Regexp(t, `(?m)^requests_per_second +- +no limit +default$`, out)

	out = must(t, dir, "", "tenants", "quota", other, "--events-a-day", "2", "--keys", "7", "--requests-a-second", "1000")
	require.Regexp(t, `(?m)^events_per_day +0 +2 +operator$`, out)
	require.Regexp(t, `(?m)^keys +1 +7 +operator$`, out)
	for range 2 {
		must(t, dir, `{"n":1}`, "events", "create", "email.sent", "--key", key)
	}
	out, code := fanmail(t, dir, `{"n":1}`, "events", "create", "email.sent", "--key", key)
	require.Equal(t, 1, code)
	require.Contains(t, out, "quota events_per_day")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent") // of another tenant
	require.Eventually(t, func() bool {
		used := object(t, must(t, dir, "", "tenants", "quota", other, "--json"))["used"].(map[string]any)
		return used["events_today"] == 2.0
	}, time.Minute, 20*time.Millisecond)

	out = must(t, dir, "", "tenants", "quota", other, "--clear", "events_per_day")
	require.Regexp(t, `(?m)^events_per_day +2 +5000000 +default$`, out)
	require.Regexp(t, `(?m)^keys +1 +7 +operator$`, out)
	must(t, dir, `{"n":1}`, "events", "create", "email.sent", "--key", key)

	out = must(t, dir, "", "tenants", "quota", other, "--event-days", "7", "--mail-days", "3")
	require.Regexp(t, `(?m)^event_days +- +7 +operator$`, out)
	require.Regexp(t, `(?m)^delivery_days +- +7 +default$`, out)
	require.Regexp(t, `(?m)^mail_days +- +3 +operator$`, out)
	out, code = fanmail(t, dir, "", "tenants", "quota", other, "--delivery-days", "31")
	require.Equal(t, 1, code)
	require.Contains(t, out, "the installation keeps them for 30 days")

	for _, value := range []string{"0", "-1", "many", "9223372036854775808", ""} {
		out, code := fanmail(t, dir, "", "tenants", "quota", other, "--keys="+value)
		require.Equal(t, 1, code, value)
		require.Contains(t, out, "keys", value)
	}
	out, code = fanmail(t, dir, "", "tenants", "quota", other, "--bytes-a-day", "9223372036854775807")
	require.Equal(t, 1, code)
	require.Contains(t, out, "bytes_per_day")
	out, code = fanmail(t, dir, "", "tenants", "quota", "ten_00000000000000000000000000000001")
	require.Equal(t, 1, code)
	require.Contains(t, out, "404")
}
