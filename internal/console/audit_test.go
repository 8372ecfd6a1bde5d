package console_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheAuditLogIsShownToAdministrators of a tenant and to operators, with hostile text.
func TestTheAuditLogIsShownToAdministrators(t *testing.T) {
	t.Parallel()
	w := start(t)
	id, key := w.tenant("acme")
	b := w.signedIn(key)
	require.Contains(t, words(b.get("/audit?object=nothing").want(http.StatusOK).root), "No change here fits")
	_, err := w.pool.Exec(t.Context(), `INSERT INTO fanmail.audit_log (id, tenant_id, actor_kind, actor_id, actor_name, operation, object, before, after)
		SELECT gen_random_uuid(), id, 'key', 'key_1', $1, 'change-webhook', $1, jsonb_build_object('description', ''), jsonb_build_object('description', $1::text)
		FROM fanmail.tenants WHERE name = 'acme'`, hostileName)
	require.NoError(t, err)
	for _, page := range []string{"/audit", "/audit?operation=change-webhook", "/audit?object=" + url.QueryEscape(hostileName)} {
		d := b.get(page).want(http.StatusOK)
		require.Len(t, d.all("script"), 2, "%s: the layout's own", page)
		require.Contains(t, words(d.find("table")), hostileName, page)
		require.Contains(t, words(d.find("table")), "change-webhook", page)
		require.NotNil(t, d.find("a[aria-current=page]"), page)
	}
	require.Equal(t, http.StatusForbidden, b.get("/operator/audit").status)
	b = w.signedIn(w.operatorKey)
	require.Contains(t, words(b.get("/operator/audit").want(http.StatusOK).root), "create-tenant", "changes of all")
	d := b.get("/operator/audit?tenant_id=" + id + "&operation=change-webhook").want(http.StatusOK)
	require.Contains(t, words(d.find("table")), hostileName)
}

func TestAnAdministratorDownloadsAnExport(t *testing.T) {
	t.Parallel()
	w := start(t)
	id, key := w.tenant("acme")
	b := w.signedIn(key)
	require.NotNil(t, b.get("/export").want(http.StatusOK).find("a[href=/console/export/all]"))
	for _, what := range []string{"all", "configuration"} {
		file := b.get("/export/" + what).want(http.StatusOK)
		require.Contains(t, file.header.Get("Content-Disposition"), "attachment")
		require.Contains(t, file.text, id)
		require.Contains(t, file.text, `{"kind":"end"`)
	}
	require.Equal(t, http.StatusNotFound, b.get("/export/secrets").status)
}
