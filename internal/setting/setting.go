package setting

import (
	"strings"
	"sync/atomic"
)

// fromEnvironment says that this process reads variables and flags.
var fromEnvironment atomic.Bool

// FromEnvironment makes texts name variables and flags from now on. The commands call
// it; a program that embeds Fanmail does not.
func FromEnvironment() { fromEnvironment.Store(true) }

// options replaces variables and flags by what a program has instead. Longer texts
// come first.
var options = strings.NewReplacer(
	"(FANMAIL_ALLOW_HTTP)", "(Config.AllowHTTP)",
	"(FANMAIL_ALLOW_NETWORKS)", "(Config.AllowNetworks)",
	"(FANMAIL_ALLOW_PORTS)", "(Config.AllowPorts)",
	"a file (--secrets-key-file) or as text (FANMAIL_SECRETS_KEY)", "text (Config.SecretsKey)",
	", and the key of a KMS that decrypts it as --secrets-kms (FANMAIL_SECRETS_KMS)", "",
	"set --secrets-kms (FANMAIL_SECRETS_KMS) to the key that encrypted it", "decrypt it first",
	"--secrets-key-file (FANMAIL_SECRETS_KEY_FILE)", "Config.SecretsKey",
	"FANMAIL_SECRETS_KEY_FILE, or FANMAIL_SECRETS_KEY,", "Config.SecretsKey",
	"FANMAIL_SECRETS_KEY_FILE in dispatchers and API", "Config.SecretsKey in every process",
	"FANMAIL_SECRETS_KEY_FILE", "Config.SecretsKey",
	"--secrets-kms (FANMAIL_SECRETS_KMS)", "the setting of the KMS",
	"FANMAIL_SECRETS_KMS", "the setting of the KMS",
	"set FANMAIL_MIGRATE=true", "call fanmail.Migrate",
	", or lower --events-max-bytes (FANMAIL_EVENTS_MAX_BYTES)", "",
	"point FANMAIL_NATS_URL at another account", "connect the program to another account",
	"FANMAIL_NATS_JS_DOMAIN or FANMAIL_NATS_JS_API_PREFIX", "a JetStream domain or an API prefix",
	"FANMAIL_NATS_URL", "the program's broker connection",
	"FANMAIL_DATABASE_URL", "the connection string of the program's pool",
	"FANMAIL_DATABASE_MAX_CONNS of the processes", "the MaxConns of the pools",
	"set --blobs (FANMAIL_BLOBS) to that of ingest", "run a dispatcher that has that of ingest",
	"FANMAIL_BLOBS", "the setting of the blob store",
	"FANMAIL_MILTER", "the setting of the filters",
	"FANMAIL_ALERT_RELAY_PASSWORD_FILE", "the relay's password file",
	"FANMAIL_ALERT_RELAY", "the setting of the relay",
	"FANMAIL_ALERT_FROM", "the setting of the sender",
	"FANMAIL_STREAMS=external lets this process create none", "this process may create none",
)

// Named returns the text with the names by which this process's operator or author
// knows the settings. Texts are written with the names of variables.
func Named(text string) string {
	if fromEnvironment.Load() {
		return text
	}
	return options.Replace(text)
}
