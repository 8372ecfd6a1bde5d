package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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

// errKMS is the error of a keyset that is in a KMS.
var errKMS error = kmsError{}

type kmsError struct{}

func (kmsError) Error() string {
	return setting.Named("it is a URL; keys in a KMS are not supported: give a keyset as a file (--secrets-key-file) or as text (FANMAIL_SECRETS_KEY)")
}

// decode and encode are the text form of a keyset.
func decode(text []byte) (*tinkset.Handle, error) {
	text = bytes.TrimSpace(text)
	if len(text) > maxKeysetBytes {
		return nil, fmt.Errorf("it has %d bytes; the limit is %d", len(text), maxKeysetBytes)
	}
	if bytes.Contains(text, []byte("://")) {
		return nil, errKMS
	}
	if !bytes.HasPrefix(text, []byte("{")) {
		plain, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return nil, errKeyset
		}
		text = plain
	}
	handle, err := insecurecleartextkeyset.Read(tinkset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, errKeyset // the parser's text may hold a part of a key
	}
	return handle, nil
}

func encode(handle *tinkset.Handle) ([]byte, error) {
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, tinkset.NewJSONWriter(&out)); err != nil {
		return nil, errors.New("write a keyset: Tink could not encode it")
	}
	return append(bytes.TrimSpace(out.Bytes()), '\n'), nil
}

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

func readFile(path string) (*keyset, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key: %w", err)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator's own file
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key: %w", err)
	}
	handle, err := decode(b)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key %s: %w", path, err)
	}
	keys, err := use(handle)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read the secrets key %s: %w", path, err)
	}
	return keys, info.ModTime(), nil
}

// NewKeyset returns the text of a keyset with one new key.
func NewKeyset() ([]byte, error) {
	handle, err := tinkset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, errors.New("make a keyset: Tink could not make a key")
	}
	return encode(handle)
}

// AddKey returns the text of a keyset with one more key, which becomes its primary.
// The others stay, so that what they sealed can be opened. The id is that of the new
// key, in hexadecimal.
func AddKey(text []byte) (added []byte, id string, err error) {
	handle, err := decode(text)
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
	added, err = encode(handle)
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
