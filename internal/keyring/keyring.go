package keyring

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/setting"
)

// Place is where a value is stored. It is authenticated with the value, so that a
// ciphertext which was moved to another place does not open.
type Place struct {
	Table, Column string // names in the schema
	Row           string // the row's id
}

func (p Place) data() []byte { return []byte(p.Table + "." + p.Column + "/" + p.Row) }

// Keyring seals and opens stored secrets. Create one with [Load] or [Parse]. It is
// safe for concurrent use.
type Keyring struct {
	keys   atomic.Pointer[keyset]
	source Source
	form   codec // of the file

	generation atomic.Uint64

	mu      sync.Mutex
	read    time.Time // when the file was read last
	renewed time.Time // the file's modification time then
}

// reloadEvery bounds how often a keyring reads its file again.
const reloadEvery = 2 * time.Second

// Load reads the keyset of a source. Without one it returns a keyring without a key.
// A keyring from a file follows the file: a key that was added while the process runs
// is used within seconds.
func Load(s Source) (*Keyring, error) { return load(s, inClear) }

// LoadContext is [Load], and asks the KMS of the source, if it has one. It wraps the
// error of that request.
func LoadContext(ctx context.Context, s Source) (*Keyring, error) {
	k, err := load(s, wrappedBy(ctx, s.KMS))
	if err != nil {
		return nil, err
	}
	k.form = wrappedBy(context.WithoutCancel(ctx), s.KMS)
	return k, nil
}

func load(s Source, form codec) (*Keyring, error) {
	switch {
	case s.File != "" && s.Key != "":
		return nil, errors.New("read the secrets key: both a file and a text are given; give one")
	case s.Key != "":
		return parse(s.Key, form)
	case s.File == "":
		return &Keyring{}, nil
	}
	k := &Keyring{source: s, form: form}
	keys, renewed, err := readFile(s.File, form)
	if err != nil {
		return nil, err
	}
	k.keys.Store(keys)
	k.read, k.renewed = time.Now(), renewed
	return k, nil
}

// Parse reads a keyset from text: Tink's JSON format, or its base64. The error does
// not show the text.
func Parse(text secret.Text) (*Keyring, error) {
	return parse(text, inClear)
}

func parse(text secret.Text, form codec) (*Keyring, error) {
	handle, err := form.decode([]byte(text.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("read the secrets key: %w", err)
	}
	keys, err := use(handle)
	if err != nil {
		return nil, fmt.Errorf("read the secrets key: %w", err)
	}
	k := &Keyring{}
	k.keys.Store(keys)
	return k, nil
}

// Check reads the source as far as it can without its KMS. The error does not show the
// keyset.
func (s Source) Check() error {
	if s.KMS == nil {
		_, err := Load(s)
		return err
	}
	text := []byte(s.Key.Reveal())
	switch {
	case s.File != "" && s.Key != "":
		_, err := Load(s)
		return err
	case s.File == "" && s.Key == "":
		return errors.New("read the secrets key: there is a KMS, and no keyset that it decrypts")
	case s.File != "":
		var err error
		if text, err = os.ReadFile(s.File); err != nil {
			return fmt.Errorf("read the secrets key: %w", err)
		}
	}
	if _, err := checkForm(text, true); err != nil {
		return fmt.Errorf("read the secrets key: %w", err)
	}
	return nil
}

// MissingKeyError means that a value is sealed with a key that this process does not
// have.
type MissingKeyError struct {
	ID      string // of the key, in hexadecimal; "" if it is not known
	NoKeys  bool   // the process has no key at all
	Written string // the form of the value, if it is one that this release does not know
}

// Error says what to do.
func (e *MissingKeyError) Error() string {
	switch {
	case e.Written != "":
		return fmt.Sprintf("open a secret: it is sealed in the form %q, which this release does not know; run the release that sealed it, or a later one", e.Written)
	case e.NoKeys:
		return fmt.Sprintf("open a secret: it is sealed with key %s, and this process has no key; set %s", e.ID, setting.Named("--secrets-key-file (FANMAIL_SECRETS_KEY_FILE)"))
	default:
		return fmt.Sprintf("open a secret: it is sealed with key %s, which this process does not have; add the key to %s", e.ID, setting.Named("--secrets-key-file (FANMAIL_SECRETS_KEY_FILE)"))
	}
}

// ErrDamaged means that a sealed value is not the one that was sealed for its place.
var ErrDamaged = errors.New("open a secret: it was changed, or moved from another row, since it was sealed; rotate the secret, or restore its row")

// What a stored value begins with. Anything else is a value in clear.
const (
	// SealedPrefix begins all sealed values.
	SealedPrefix = "sealed:"

	sealedV1    = SealedPrefix + "v1:" // key id in hexadecimal, ":", base64
	clearPrefix = "clear:"             // before a clear value that begins like one of these
)

// Seal returns the form of a secret that is stored at a place. Without a key it is
// the secret itself.
func (k *Keyring) Seal(plain string, at Place) (string, error) {
	keys := k.current()
	if keys == nil {
		if strings.HasPrefix(plain, SealedPrefix) || strings.HasPrefix(plain, clearPrefix) {
			return clearPrefix + plain, nil
		}
		return plain, nil
	}
	sealed, err := keys.aead.Encrypt([]byte(plain), at.data())
	if err != nil || len(sealed) < tinkPrefix {
		return "", errors.New("seal a secret: the key could not encrypt it") // what Tink says is not ours to vouch for
	}
	id := hex.EncodeToString(sealed[1:tinkPrefix])
	return PrefixOf(id) + base64.RawStdEncoding.EncodeToString(sealed[tinkPrefix:]), nil
}

// Open returns the secret that is stored at a place. The error is a
// [*MissingKeyError] or [ErrDamaged]. If a key is missing and the keyring is from a
// file, Open reads the file again, at most once in [reloadEvery].
func (k *Keyring) Open(stored string, at Place) (string, error) {
	if rest, ok := strings.CutPrefix(stored, clearPrefix); ok {
		return rest, nil
	}
	if !Sealed(stored) {
		return stored, nil
	}
	id, sealed, err := split(stored)
	if err != nil {
		return "", err
	}
	keys := k.current()
	if !keys.has(id) {
		k.reload()
		keys = k.current()
	}
	if !keys.has(id) {
		return "", &MissingKeyError{ID: id, NoKeys: keys == nil}
	}
	plain, err := keys.aead.Decrypt(sealed, at.data())
	if err != nil {
		return "", ErrDamaged
	}
	return string(plain), nil
}

// split returns the key's id and Tink's ciphertext of a sealed value.
func split(stored string) (id string, sealed []byte, err error) {
	rest, ok := strings.CutPrefix(stored, sealedV1)
	if !ok {
		version, _, _ := strings.Cut(strings.TrimPrefix(stored, SealedPrefix), ":")
		return "", nil, &MissingKeyError{Written: version[:min(len(version), 8)]}
	}
	id, text, _ := strings.Cut(rest, ":")
	number, err := hex.DecodeString(id)
	if err != nil || len(number) != tinkPrefix-1 || id != strings.ToLower(id) {
		return "", nil, ErrDamaged
	}
	body, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return "", nil, ErrDamaged
	}
	return id, append(append([]byte{1}, number...), body...), nil
}

// Sealed reports whether a stored value is sealed.
func Sealed(stored string) bool { return strings.HasPrefix(stored, SealedPrefix) }

// Reseal returns a stored value sealed with the primary key. A value that is sealed
// with it already stays as it is.
func (k *Keyring) Reseal(stored string, at Place) (string, error) {
	if prefix := k.Prefix(); prefix != "" && strings.HasPrefix(stored, prefix) {
		return stored, nil
	}
	plain, err := k.Open(stored, at)
	if err != nil {
		return "", err
	}
	return k.Seal(plain, at)
}

// Prefix is what all values begin with that are sealed with the primary key. It is ""
// without a key.
func (k *Keyring) Prefix() string {
	if id := k.Primary(); id != "" {
		return PrefixOf(id)
	}
	return ""
}

// PrefixOf is what all values begin with that are sealed with a key.
func PrefixOf(id string) string { return sealedV1 + id + ":" }

// Primary returns the id of the key that seals, in hexadecimal. It is "" without a
// key.
func (k *Keyring) Primary() string {
	if keys := k.current(); keys != nil {
		return keys.primary
	}
	return ""
}

// IDs returns the ids of all keys that open, in hexadecimal.
func (k *Keyring) IDs() []string {
	if keys := k.current(); keys != nil {
		return append([]string(nil), keys.ids...)
	}
	return nil
}

func (k *Keyring) current() *keyset {
	if k == nil {
		return nil
	}
	return k.keys.Load()
}

// Refresh reads the file again if it has changed, at most once in two seconds. It
// returns a number that grows whenever other keys were read.
func (k *Keyring) Refresh() uint64 {
	if k == nil {
		return 0
	}
	k.reload()
	return k.generation.Load()
}

// reload reads the file again if it has changed. A file that can't be read leaves the
// keys as they are.
func (k *Keyring) reload() {
	if k == nil || k.source.File == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.read) < reloadEvery {
		return
	}
	k.read = time.Now()
	if info, err := os.Stat(k.source.File); err != nil || info.ModTime().Equal(k.renewed) {
		return
	}
	keys, renewed, err := readFile(k.source.File, k.form)
	k.read = time.Now() // the KMS may have taken long, and others wait
	if err == nil {
		k.keys.Store(keys)
		k.renewed = renewed
		k.generation.Add(1)
	}
}
