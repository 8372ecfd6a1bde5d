package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
)

// Owner says which package has the SQL on some tables.
type Owner struct {
	// Package is the directory.
	Package string
	// Tables are named without their schema.
	Tables []string
	// Because is the reason. It is part of every breach.
	Because string
}

var tableName = regexp.MustCompile(`\bfanmail\.([a-z_]+)\b`)

// checkSQL looks for tables in the string literals of non-test files. Only the
// owner of a table may name it. Functions of the schema may be called by all.
func checkSQL(f file) []string {
	if f.test || under(f.dir, "test") {
		return nil
	}
	var breaches []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			return true
		}
		for _, m := range tableName.FindAllStringSubmatch(text, -1) {
			table := m[1]
			i := slices.IndexFunc(Owners, func(o Owner) bool { return slices.Contains(o.Tables, table) })
			if i < 0 || Owners[i].Package == f.dir {
				continue
			}
			breaches = append(breaches, fmt.Sprintf("%s:%d: %s has SQL on fanmail.%s, which belongs to %s: %s",
				f.name, f.line(literal), f.dir, table, Owners[i].Package, Owners[i].Because))
		}
		return true
	})
	return breaches
}

// Owners of the tables. A new table needs a line here. Names that are in no line
// are functions and sequences, which everybody may use.
var Owners = []Owner{
	{
		Package: "outbox", Tables: []string{"outbox", "events", "event_keys", "strict_tenants", "closed_tenants"},
		Because: "an event, its key and its outbox row stand or fall together",
	},
	{
		Package: "subscribers", Tables: []string{"webhooks", "webhook_subscriber_deliveries", "webhook_delivery_attempts"},
		Because: "the life of a delivery is kept by the guards of a few statements",
	},
	{
		Package: "internal/eventtype", Tables: []string{"event_types"},
		Because: "which type a tenant means is decided by one package: its own before the operator's",
	},
	{
		Package: "internal/mailbox", Tables: []string{"agents", "messages", "message_raws", "conversation_keys", "domains", "released_names"},
		Because: "mail is read and written in one place, whoever asks",
	},
	{
		Package: "internal/agentwebhook", Tables: []string{"webhook_deliveries"},
		Because: "the per-agent path runs beside the subscribers' and neither disturbs the other",
	},
	{
		Package: "internal/erasure", Tables: []string{"erasures", "erased_items"},
		Because: "the proof of what was removed is written with the removal alone",
	},
	{
		Package: "internal/audit", Tables: []string{"audit_log"},
		Because: "who changed what is written and read by one package, so that nothing changes it",
	},
	{
		Package: "internal/tenancy", Tables: []string{"tenants", "api_keys", "tenant_quotas", "portal_links"},
		Because: "secrets of keys are handled in one place",
	},
	{
		Package: "internal/keyring", Tables: []string{"secret_keys"},
		Because: "who seals with a key records it in the same transaction",
	},
	{
		Package: "internal/opevents", Tables: []string{"operational_events", "alert_mails"},
		Because: "a fact is taken exactly once, and a mail sent once a day, by statements that know each other",
	},
	{
		Package: "internal/replay", Tables: []string{"replays", "replay_deliveries"},
		Because: "every write is fenced by the claim of a replay",
	},
	{
		Package: "internal/dispatch", Tables: []string{"dispatchers", "partition_owners"},
		Because: "ownership is decided by one protocol",
	},
	{
		Package: "internal/health", Tables: []string{"processes"},
		Because: "a process's state is read as it was written",
	},
	{
		Package: "internal/importe2a", Tables: []string{"imports", "imported_rows"},
		Because: "they say how far one import has come",
	},
	{
		Package: "internal/api", Tables: []string{"idempotency_keys"},
		Because: "it stores answers of the API",
	},
	{
		Package: "internal/console", Tables: []string{"console_sessions", "console_links"},
		Because: "who is signed in is decided in one place",
	},
	{
		Package: "internal/usage", Tables: []string{"tenant_usage"},
		Because: "every way in counts the same, in memory first",
	},
	{
		Package: "deploy/migrations", Tables: []string{"goose_db_version"},
		Because: "the schema's version is read and written by those who change the schema",
	},
}
