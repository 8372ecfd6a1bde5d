package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/kms"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// KeyService configures the KMS that decrypts the keyset.
type KeyService struct {
	KMS string `name:"secrets-kms" aliases:"kms" env:"FANMAIL_SECRETS_KMS" placeholder:"URL" help:"Key of AWS KMS that decrypts the keyset when the process starts: aws-kms://ARN, with the credentials of the AWS SDK. Without it the keyset is in clear."`
}

func (c *KeyService) key() (keyring.KMS, error) {
	if c.KMS == "" {
		return nil, nil
	}
	key, err := kms.Parse(c.KMS)
	if err != nil {
		return nil, wrong("--secrets-kms", "FANMAIL_SECRETS_KMS", err.Error())
	}
	return key, nil
}

// NewKeyset returns the text of a keyset with one new key, encrypted by the KMS if
// there is one.
func (c *KeyService) NewKeyset(ctx context.Context) ([]byte, error) {
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	text, err := keyring.NewWrapped(ctx, key)
	return text, advised(err)
}

// AddKey returns the text of a keyset with one more key, and the id of that key. If
// there is a KMS, the result is encrypted by it, also if the keyset was in clear.
func (c *KeyService) AddKey(ctx context.Context, text []byte) (added []byte, id string, err error) {
	key, err := c.key()
	if err != nil {
		return nil, "", err
	}
	added, id, err = keyring.AddWrapped(ctx, text, key)
	return added, id, advised(err)
}

// advised adds what to do to an error of the KMS.
func advised(err error) error {
	var refused *kms.Error
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy(err, ""))
}

// Secrets configures the keys that encrypt secrets in the database.
type Secrets struct {
	File string      `name:"secrets-key-file" env:"FANMAIL_SECRETS_KEY_FILE" placeholder:"FILE" help:"Keyset that encrypts secrets in the database, as 'fanmail secrets new-key' writes it. It is read again when it changes."`
	Key  secret.Text `name:"secrets-key" env:"FANMAIL_SECRETS_KEY" placeholder:"KEYSET" help:"The keyset itself instead of a file. Without both, secrets are stored in clear."`
	KeyService
}

func (c *Secrets) source() (keyring.Source, error) {
	if c.File != "" && c.Key != "" {
		return keyring.Source{}, wrong("--secrets-key-file and --secrets-key", "FANMAIL_SECRETS_KEY_FILE, FANMAIL_SECRETS_KEY", "exclude each other")
	}
	key, err := c.key()
	if err == nil && key != nil && c.File == "" && c.Key == "" {
		err = missing("--secrets-key-file", "FANMAIL_SECRETS_KEY_FILE", "the keyset that the key of --secrets-kms decrypts; `fanmail secrets new-key` makes one")
	}
	return keyring.Source{File: c.File, Key: c.Key, KMS: key}, err
}

// load reads the keyset, with a request to the KMS if there is one.
func (c *Secrets) load(ctx context.Context) (*keyring.Keyring, error) {
	s, err := c.source()
	if err != nil {
		return nil, err
	}
	keys, err := keyring.LoadContext(ctx, s)
	return keys, c.named(err)
}

func (c *Secrets) validate() error {
	s, err := c.source()
	if err != nil {
		return err
	}
	return c.named(s.Check())
}

// named names the setting of an error that reading the keyset gave, except for one of
// the KMS.
func (c *Secrets) named(err error) error {
	var refused *kms.Error
	switch {
	case err == nil, errors.As(err, &refused):
		return err
	case c.File != "":
		return wrong("--secrets-key-file", "FANMAIL_SECRETS_KEY_FILE", err.Error())
	default:
		return wrong("--secrets-key", "FANMAIL_SECRETS_KEY", err.Error())
	}
}

// await reads the keyset as soon as the KMS answers, if there is one. What waiting
// can't end is permanent.
func (c *Secrets) await(ctx context.Context, component *health.Component, log *zap.Logger) (keys *keyring.Keyring, err error) {
	err = engine.Await(ctx, log, "the KMS", func(ctx context.Context) error {
		var refused *kms.Error
		if keys, err = c.load(ctx); err == nil {
			return nil
		}
		if !errors.As(err, &refused) || !refused.Temporary() {
			return engine.Permanent(advised(err))
		}
		component.Report(err)
		return err
	})
	return keys, err
}

// UpKeyFile is the keyset of `fanmail up` in its directory.
const UpKeyFile = "secrets-key.json"

// orMake sets the key file of a directory if no key is set, and makes the file if
// there is none.
func (c *Secrets) orMake(dir string) error {
	if c.File != "" || c.Key != "" || c.KMS != "" {
		return nil
	}
	c.File = filepath.Join(dir, UpKeyFile)
	text, err := keyring.NewKeyset()
	if err != nil {
		return err
	}
	if err := keyring.CreateFile(c.File, text); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// secretsEvery is the time between two checks of the keys in use.
const secretsEvery = health.BeatEvery

// secretsName is the name of the component.
const secretsName = "secrets"

// useSecrets loads the process's keys and adds the component that checks them. The
// process is not ready while secrets are sealed with a key that it does not have.
func (p *process) useSecrets(ctx context.Context, c Secrets) error {
	component := p.state.registry.Component(secretsName, true, 0)
	if c.KMS != "" {
		p.status.set("waiting for the KMS")
	}
	keys, err := c.await(ctx, component, p.log)
	if err != nil {
		return err
	}
	p.status.set("reading the webhooks")
	p.keys, p.state.keys = keys, keys
	check := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, beatTimeout)
		defer cancel()
		err := keys.Check(ctx, p.pool)
		if err != nil && ctx.Err() != nil {
			return // the database says nothing about the keys
		}
		if component.Report(err) {
			if err != nil {
				p.log.Error("secrets can't be opened", zap.Error(err))
			} else {
				p.log.Info("secrets can be opened")
			}
		}
	}
	// A rotation records its key and then looks for processes. Whichever comes first: it finds this
	// process, or the check finds the key.
	p.state.beat(ctx, p.pool)
	check(ctx)
	p.add(secretsName, func(ctx context.Context) error {
		tick := time.NewTicker(secretsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				check(ctx)
			}
		}
	})
	return nil
}

// Rotation is the progress and the result of [RotateSecrets].
type Rotation struct {
	Key      string   // the id of the primary key
	Total    int64    // webhooks that had secrets to encrypt at the beginning
	Done     int64    // webhooks whose secrets are encrypted now
	Failed   []string // webhooks with secrets that can't be opened, 10 at most
	Unopened int      // how many those are
	Retired  []string // keys that seal nothing any more
}

// maxIdlePasses bounds the passes in a row, a second apart, that encrypt nothing.
const maxIdlePasses = 60

// resealBatch bounds the webhooks of a transaction.
const resealBatch = 200

// RotateSecrets encrypts all secrets with the primary key: those in clear, and those
// of earlier keys. Processes keep working meanwhile. It may be called again at any
// time, also after it was killed: what is done stays done. It waits until all running
// processes have the key. progress is called with each step of the wait, and with ""
// after each batch.
func RotateSecrets(ctx context.Context, db Database, c Secrets, log *zap.Logger, progress func(Rotation, string)) (Rotation, error) {
	if err := firstError(db.validate, c.validate); err != nil {
		return Rotation{}, err
	}
	keys, err := c.load(ctx)
	if err != nil {
		return Rotation{}, advised(err)
	}
	if keys.Primary() == "" {
		return Rotation{}, missing("--secrets-key-file", "FANMAIL_SECRETS_KEY_FILE", "the keyset with which to encrypt; `fanmail secrets new-key` makes one")
	}
	pool, err := connectDatabase(ctx, db, newCondition("secrets", log), nil)
	if err != nil {
		return Rotation{}, err
	}
	defer pool.Close()
	r := &rotation{pool: pool, keys: keys, progress: progress, Rotation: Rotation{Key: keys.Primary()}}
	if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return keys.Enroll(ctx, tx) }); err != nil {
		return r.Rotation, err
	}
	if r.Total, err = subscribers.CountStale(ctx, pool, keys); err != nil {
		return r.Rotation, err
	}
	if err := r.reseal(ctx); err != nil {
		return r.Rotation, err
	}
	return r.Rotation, r.retire(ctx)
}

type rotation struct {
	Rotation
	pool     *pgxpool.Pool
	keys     *keyring.Keyring
	progress func(Rotation, string)
}

// keyWait bounds the wait for processes to read a new key.
const keyWait = 3 * time.Minute

// awaitProcesses waits until each running process has the primary key. Otherwise deliveries would wait
// there for the key.
func (r *rotation) awaitProcesses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	said := ""
	for {
		waiting, err := r.behind(ctx)
		if err != nil {
			return err
		}
		if waiting == "" {
			return nil
		}
		if waiting != said {
			said = waiting
			r.progress(r.Rotation, "waiting for "+waiting+" to have key "+r.Key)
		}
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return fmt.Errorf("%s does not have key %s after %s: give it the keyset; a file is read again by itself, a variable when the process starts", waiting, r.Key, keyWait)
		case <-time.After(time.Second):
		}
	}
}

// behind names a process that may lack the primary key; "" if there is none.
func (r *rotation) behind(ctx context.Context) (string, error) {
	list, err := health.Processes(ctx, r.pool)
	if err != nil {
		return "", err
	}
	for _, p := range list {
		for i := range p.Components {
			s := &p.Components[i]
			if s.Name != secretsName || p.Age > health.Gone {
				continue
			}
			if s.Status == health.Failing || !slices.Contains(p.SecretKeys, r.Key) {
				return p.Kind + " " + p.Name, nil
			}
		}
	}
	return "", nil
}

// pass goes once through the webhooks, and adds to those that can't be opened. why is the reason of the first of them.
func (r *rotation) pass(ctx context.Context, failed map[events.WebhookID]struct{}) (why, err error) {
	for after := (events.WebhookID{}); ; {
		// Before each batch: a process may have started since the last with an earlier keyset.
		if err := r.awaitProcesses(ctx); err != nil {
			return nil, err
		}
		got, err := subscribers.Reseal(ctx, r.pool, r.keys, after, resealBatch)
		if err != nil {
			return nil, err
		}
		r.Done += int64(got.Webhooks)
		for _, id := range got.Failed {
			failed[id] = struct{}{}
		}
		if why == nil {
			why = got.Err
		}
		r.progress(r.Rotation, "")
		if after = got.Last; after == (events.WebhookID{}) {
			return why, nil
		}
	}
}

// reseal goes through the webhooks until all that can be opened are done.
func (r *rotation) reseal(ctx context.Context) error {
	failed := map[events.WebhookID]struct{}{}
	for idle := 0; ; {
		before := r.Done
		why, err := r.pass(ctx, failed)
		if err != nil {
			return err
		}
		left, err := subscribers.CountStale(ctx, r.pool, r.keys)
		if err != nil {
			return err
		}
		if left > int64(len(failed)) { // rows that were locked, or have changed
			idle++
			if r.Done > before {
				idle = 0
			}
			if idle > maxIdlePasses {
				return fmt.Errorf("%d webhooks stay locked by other transactions; run `fanmail secrets rotate` again", left-int64(len(failed)))
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(time.Second):
			}
			continue
		}
		r.Unopened = len(failed)
		for id := range failed {
			if len(r.Failed) == 10 {
				break
			}
			r.Failed = append(r.Failed, id.String())
		}
		if why != nil {
			return fmt.Errorf("the secrets of %d webhooks stay as they are (%s): %w", len(failed), strings.Join(r.Failed, ", "), why)
		}
		return nil
	}
}

// retire forgets the keys that seal nothing any more.
func (r *rotation) retire(ctx context.Context) error {
	ids, err := keyring.InUse(ctx, r.pool)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id == r.Key {
			continue
		}
		gone, err := keyring.Forget(ctx, r.pool, id, func(tx pgx.Tx) (bool, error) { return subscribers.KeyUsed(ctx, tx, id) })
		if err != nil {
			return err
		}
		if gone {
			r.Retired = append(r.Retired, id)
		}
	}
	return nil
}
