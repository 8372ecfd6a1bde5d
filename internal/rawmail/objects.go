package rawmail

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// Objects have the format of the client library's object store: chunks at one subject, and a description at another.
// The library itself needs more rights than the processes may have. Its Put reads, its Get and its List create
// consumers, and a change of a description removes messages by a header.
const (
	// chunkPrefix begins the subjects of an object's bytes.
	chunkPrefix = "$O." + stream.RawObjects + ".C."
	// metaPrefix begins the subjects of descriptions; the name follows in base64.
	metaPrefix = "$O." + stream.RawObjects + ".M."
	// chunkBytes is the size of all chunks but the last.
	chunkBytes = 128 << 10
	// digestPrefix begins the digest of a description; the SHA-256 follows in base64.
	digestPrefix = "SHA-256="
)

// errNoObject means that an object does not exist.
var errNoObject = errors.New("the object does not exist")

// errBroken means that an object's bytes are not those that its description tells of. A retry is useless.
var errBroken = errors.New("the bytes of the object are missing, or have another size or digest than its description")

func metaSubject(name string) string {
	return metaPrefix + base64.URLEncoding.EncodeToString([]byte(name))
}

func digest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return digestPrefix + base64.URLEncoding.EncodeToString(sum[:])
}

// putObject stores bytes under a new name. It needs the right to publish, and no other. chunks is a name that no other
// object has.
func putObject(ctx context.Context, js jetstream.JetStream, name, chunks string, raw []byte) error {
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkBytes}},
		Bucket:     stream.RawObjects, NUID: chunks, Size: uint64(len(raw)), Digest: digest(raw),
	}
	for rest := raw; len(rest) > 0; info.Chunks++ {
		n := min(len(rest), chunkBytes)
		if _, err := js.Publish(ctx, chunkPrefix+chunks, rest[:n]); err != nil {
			return fmt.Errorf("store object %s: %w", name, err)
		}
		rest = rest[n:]
	}
	meta, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode the description of object %s: %w", name, err)
	}
	if _, err := js.Publish(ctx, metaSubject(name), meta); err != nil {
		return fmt.Errorf("store the description of object %s: %w", name, err)
	}
	return nil
}

// objects is the stream of the objects, for a process that may read and purge it.
type objects struct{ jetstream.Stream }

func openObjects(ctx context.Context, js jetstream.JetStream) (objects, error) {
	s, err := js.Stream(ctx, stream.RawObjectsStream)
	if err != nil {
		return objects{}, fmt.Errorf("open object store %s: %w", stream.RawObjects, err)
	}
	return objects{s}, nil
}

// info returns an object's description, or errNoObject.
func (o objects) info(ctx context.Context, name string) (*jetstream.ObjectInfo, error) {
	return o.describe(ctx, metaSubject(name))
}

func (o objects) describe(ctx context.Context, subject string) (*jetstream.ObjectInfo, error) {
	m, err := o.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, errNoObject
	}
	if err != nil {
		return nil, fmt.Errorf("look up an object: %w", err)
	}
	info := &jetstream.ObjectInfo{}
	err = json.Unmarshal(m.Data, info)
	// The publisher chose the name, which must not be a pattern of other objects' subjects.
	if err != nil || info.Deleted || strings.ContainsAny(info.NUID, ".*> ") || info.NUID == "" && info.Size > 0 {
		return &jetstream.ObjectInfo{ModTime: m.Time, Deleted: true}, nil //nolint:nilerr // it describes nothing
	}
	info.ModTime = m.Time
	return info, nil
}

// read returns an object's bytes, errNoObject or errBroken. The description may be false: a publisher wrote it.
func (o objects) read(ctx context.Context, name string) ([]byte, error) {
	info, err := o.info(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Deleted {
		return nil, errNoObject
	}
	var raw []byte
	subject := chunkPrefix + info.NUID
	for seq := uint64(1); uint64(len(raw)) < info.Size; {
		m, err := o.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, errBroken
		}
		if err != nil {
			return nil, fmt.Errorf("read the bytes of object %s: %w", name, err)
		}
		raw, seq = append(raw, m.Data...), m.Sequence+1
	}
	if uint64(len(raw)) != info.Size || digest(raw) != info.Digest {
		return nil, errBroken
	}
	return raw, nil
}

// remove deletes an object; none is no error.
func (o objects) remove(ctx context.Context, name string) error {
	info, err := o.info(ctx, name)
	if errors.Is(err, errNoObject) {
		return nil
	}
	if err == nil {
		err = o.purge(ctx, metaSubject(name), info)
	}
	if err != nil {
		return fmt.Errorf("remove object %s: %w", name, err)
	}
	return nil
}

// purge removes an object's bytes, then its description.
func (o objects) purge(ctx context.Context, subject string, info *jetstream.ObjectInfo) error {
	if info.NUID != "" {
		if err := o.Purge(ctx, jetstream.WithPurgeSubject(chunkPrefix+info.NUID)); err != nil {
			return err
		}
	}
	return o.Purge(ctx, jetstream.WithPurgeSubject(subject))
}

// subjects returns the subjects with a prefix that have messages.
func (o objects) subjects(ctx context.Context, prefix string) (map[string]uint64, error) {
	info, err := o.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("list the objects of raw mails: %w", err)
	}
	return info.State.Subjects, nil
}

// age returns when the last message of a subject was stored; false if there is none.
func (o objects) age(ctx context.Context, subject string) (time.Time, bool, error) {
	m, err := o.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look up the bytes of an object: %w", err)
	}
	return m.Time, true, nil
}
