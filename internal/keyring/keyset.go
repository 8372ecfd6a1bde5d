package keyring

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	tinkset "github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/setting"
)

// Source says where the keyset is. The zero value is no keyset.
type Source struct {
	// File holds a keyset in Tink's JSON format, or its base64.
	File string
	// Key is the same as text.
	Key secret.Text
	// KMS decrypts the keyset; nil: the keyset is in clear.
	KMS KMS
}

// keyset is what a keyring works with at a time.
type keyset struct {
	aead    tink.AEAD
	primary string
	ids     []string // of all enabled keys, in hexadecimal
}

func (s *keyset) has(id string) bool { return s != nil && slices.Contains(s.ids, id) }

// tinkPrefix is the length of what Tink writes before a ciphertext: a version byte
// and the key's id.
const tinkPrefix = 5

// maxKeysetBytes bounds a keyset. A key takes about 250 bytes.
const maxKeysetBytes = 1 << 20

var errKeyset = errors.New("it is not a keyset of keys for AEAD in Tink's JSON format, nor its base64; make one with `fanmail secrets new-key`")

var errEncode = errors.New("write a keyset: Tink could not encode it")

// errURL is the error of a keyset that is a URL.
var errURL error = urlError{}

type urlError struct{}

func (urlError) Error() string {
	return setting.Named("it is a URL: give a keyset as a file (--secrets-key-file) or as text (FANMAIL_SECRETS_KEY), and the key of a KMS that decrypts it as --secrets-kms (FANMAIL_SECRETS_KMS)")
}

// plainJSON returns the JSON of a keyset from one of its two text forms.
func plainJSON(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if len(text) > maxKeysetBytes {
		return nil, fmt.Errorf("it has %d bytes; the limit is %d", len(text), maxKeysetBytes)
	}
	if bytes.Contains(text, []byte("://")) {
		return nil, errURL
	}
	if bytes.HasPrefix(text, []byte("{")) {
		return text, nil
	}
	plain, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return nil, errKeyset
	}
	return plain, nil
}

// decodeClear and encodeClear are the text form of a keyset in clear.
func decodeClear(text []byte) (*tinkset.Handle, error) {
	text, err := checkForm(text, false)
	if err != nil {
		return nil, err
	}
	handle, err := insecurecleartextkeyset.Read(tinkset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errKeyset // the parser's text may hold a part of a key
	}
	return handle, nil
}

func encodeClear(handle *tinkset.Handle) ([]byte, error) {
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, tinkset.NewJSONWriter(&out)); err != nil {
		return nil, errEncode
	}
	return line(out.Bytes()), nil
}

// line returns the JSON of a keyset as one line of a file.
func line(text []byte) []byte { return append(bytes.TrimSpace(text), '\n') }

// use makes the primitive of a keyset.
func use(handle *tinkset.Handle) (*keyset, error) {
	primary, err := handle.Primary()
	if err != nil {
		return nil, errKeyset
	}
	keys := &keyset{primary: hexID(primary.KeyID())}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, errKeyset
		}
		if entry.KeyStatus() == tinkset.Enabled {
			keys.ids = append(keys.ids, hexID(entry.KeyID()))
		}
	}
	if keys.aead, err = aead.New(handle); err != nil {
		return nil, errKeyset
	}
	// A key of another output prefix would seal what this package cannot name a key for.
	trial, err := keys.aead.Encrypt(nil, nil)
	if err != nil || len(trial) < tinkPrefix || trial[0] != 1 || hexID(primary.KeyID()) != fmt.Sprintf("%x", trial[1:tinkPrefix]) {
		return nil, errors.New("its primary key does not have the output prefix TINK; make one with `fanmail secrets new-key`")
	}
	return keys, nil
}

func readFile(path string, form codec) (*keyset, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key: %w", err)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key: %w", err)
	}
	handle, err := form.decode(b)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key %s: %w", path, err)
	}
	keys, err := use(handle)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key %s: %w", path, err)
	}
	return keys, info.ModTime(), nil
}

// NewKeyset returns the text of a keyset with one new key, in clear.
func NewKeyset() ([]byte, error) { return newKeyset(inClear) }

// NewWrapped is [NewKeyset], encrypted by a KMS unless that is nil.
func NewWrapped(ctx context.Context, kms KMS) ([]byte, error) {
	return newKeyset(wrappedBy(ctx, kms))
}

func newKeyset(form codec) ([]byte, error) {
	handle, err := tinkset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, errors.New("make a keyset: Tink could not make a key")
	}
	return form.encode(handle)
}

// AddKey returns the text of a keyset with one more key, which becomes its primary.
// The others stay, so that what they sealed can be opened. The id is that of the new
// key, in hexadecimal.
func AddKey(text []byte) (added []byte, id string, err error) {
	return addKey(text, inClear)
}

// AddWrapped is [AddKey], and the result is encrypted by a KMS unless that is nil. The
// text may still be in clear then.
func AddWrapped(ctx context.Context, text []byte, kms KMS) (added []byte, id string, err error) {
	return addKey(text, wrappedBy(ctx, kms))
}

func addKey(text []byte, form codec) (added []byte, id string, err error) {
	handle, err := form.decode(text)
	if errors.Is(err, errClear) {
		handle, err = decodeClear(text)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the secrets key: %w", err)
	}
	m := tinkset.NewManagerFromHandle(handle)
	number, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(number)
	}
	if err != nil {
		return nil, "", errors.New("add a key: Tink could not make it")
	}
	if handle, err = m.Handle(); err != nil {
		return nil, "", errors.New("add a key: Tink could not use it")
	}
	added, err = form.encode(handle)
	return added, hexID(number), err
}

// CreateFile writes a keyset to a new file that only its owner can read. It returns
// an error that wraps [fs.ErrExist] if the file exists: who overwrites a key loses
// what it sealed.
func CreateFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own file
	if err != nil {
		return fmt.Errorf("create the key file: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReplaceFile replaces a key file in one step. It keeps the file's mode.
func ReplaceFile(path string, text []byte) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("replace the key file: %w", err)
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("replace the key file: %w", err)
	}
	return nil
}

// Base64 returns the text of a keyset in one line, for an environment variable.
func Base64(text []byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.TrimSpace(string(text))))
}

func hexID(id uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], id)
	return hex.EncodeToString(b[:])
}

// KMS encrypts and decrypts keysets with a key that stays in a key management service.
// It bounds its requests itself.
type KMS = tink.AEADWithContext

// errClear means that a keyset is in clear though there is a KMS.
var errClear error = clearError{}

type clearError struct{}

func (clearError) Error() string {
	return setting.Named("it is in clear, and --secrets-kms (FANMAIL_SECRETS_KMS) is set; `fanmail secrets add-key` with that setting encrypts it, and adds a key")
}

// wrappedError means that a keyset is encrypted and there is no KMS.
type wrappedError struct{}

func (wrappedError) Error() string {
	return setting.Named("it is encrypted by a KMS; set --secrets-kms (FANMAIL_SECRETS_KMS) to the key that encrypted it")
}

// codec is one of the two forms of a keyset's text.
type codec struct {
	decode func(text []byte) (*tinkset.Handle, error)
	encode func(handle *tinkset.Handle) ([]byte, error)
}

var inClear = codec{decodeClear, encodeClear}

// wrappedBy is the form that a KMS encrypts and decrypts; nil: the one in clear.
func wrappedBy(ctx context.Context, kms KMS) codec {
	if kms == nil {
		return inClear
	}
	return codec{
		func(text []byte) (*tinkset.Handle, error) { return unwrap(ctx, text, kms) },
		func(handle *tinkset.Handle) ([]byte, error) { return wrap(ctx, handle, kms) },
	}
}

// checkForm returns the JSON of a keyset, and an error if it is in the other form.
func checkForm(text []byte, wrapped bool) ([]byte, error) {
	text, err := plainJSON(text)
	if err != nil {
		return nil, err
	}
	var outer struct {
		EncryptedKeyset string          `json:"encryptedKeyset"`
		Key             json.RawMessage `json:"key"`
	}
	err = json.Unmarshal(text, &outer)
	switch {
	case err != nil:
		return nil, errKeyset // the parser's text may hold a part of a key
	case outer.EncryptedKeyset != "" && !wrapped:
		return nil, wrappedError{}
	case outer.EncryptedKeyset == "" && wrapped && outer.Key != nil:
		return nil, errClear
	case outer.EncryptedKeyset == "" && wrapped:
		return nil, errKeyset
	}
	return text, nil
}

// keeper keeps the error of a KMS, which Tink's error does not wrap.
type keeper struct {
	KMS
	err error
}

func (k *keeper) EncryptWithContext(ctx context.Context, plain, associated []byte) (sealed []byte, err error) {
	sealed, k.err = k.KMS.EncryptWithContext(ctx, plain, associated)
	return sealed, k.err
}

func (k *keeper) DecryptWithContext(ctx context.Context, sealed, associated []byte) (plain []byte, err error) {
	plain, k.err = k.KMS.DecryptWithContext(ctx, sealed, associated)
	return plain, k.err
}

func unwrap(ctx context.Context, text []byte, kms KMS) (*tinkset.Handle, error) {
	text, err := checkForm(text, true)
	if err != nil {
		return nil, err
	}
	k := &keeper{KMS: kms}
	handle, err := tinkset.ReadWithContext(ctx, tinkset.NewJSONReader(bytes.NewReader(text)), k, nil)
	switch {
	case k.err != nil:
		return nil, fmt.Errorf("decrypt it: %w", k.err)
	case err != nil:
		return nil, errKeyset
	}
	return handle, nil
}

func wrap(ctx context.Context, handle *tinkset.Handle, kms KMS) ([]byte, error) {
	var out bytes.Buffer
	k := &keeper{KMS: kms}
	err := handle.WriteWithContext(ctx, tinkset.NewJSONWriter(&out), k, nil)
	switch {
	case k.err != nil:
		return nil, fmt.Errorf("encrypt the keyset: %w", k.err)
	case err != nil:
		return nil, errEncode
	}
	return line(out.Bytes()), nil
}
