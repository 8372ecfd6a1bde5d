package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
)

// EnsureObjects creates the object store of raw mails, or looks it up if the streams are
// external. Its stream refuses what the client library's stores permit. A publisher would
// else remove the mails of others by a header, or have the broker publish bytes as an answer.
func EnsureObjects(ctx context.Context, js jetstream.JetStream, o Options) error {
	s, err := js.Stream(ctx, RawObjectsStream)
	if err == nil {
		c := s.CachedInfo().Config
		if o.External || !c.AllowRollup && !c.AllowDirect {
			return nil
		}
		c.AllowRollup, c.AllowDirect = false, false
		_, err = js.UpdateStream(ctx, c)
		return bucketError(RawObjects, err)
	}
	if !errors.Is(err, jetstream.ErrStreamNotFound) || o.External {
		return bucketError(RawObjects, err)
	}
	e := &ensurer{js: js, o: o, log: zap.NewNop()}
	put := func(c jetstream.StreamConfig) error {
		c.Name = RawObjectsStream
		_, err := js.CreateOrUpdateStream(ctx, c)
		return err
	}
	c := ObjectsConfig(max(o.Replicas, 1))
	c.Name = Raw // it has the same share of the account
	return bucketError(RawObjects, e.fit(ctx, c, put, put))
}

// ObjectsConfig is the stream of the object store of raw mails, without its bound.
func ObjectsConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: RawObjectsStream, Description: "Raw mails that exceed the broker's message size.",
		Subjects: []string{"$O." + RawObjects + ".C.>", "$O." + RawObjects + ".M.>"},
		Storage:  jetstream.FileStorage, Discard: jetstream.DiscardNew, MaxAge: 0, Replicas: replicas,
	}
}

// EnsureRecipients creates the bucket of the addresses that receive, or looks it up if
// the streams are external.
func EnsureRecipients(ctx context.Context, js jetstream.JetStream, o Options) (jetstream.KeyValue, error) {
	kv, err := js.KeyValue(ctx, Recipients)
	if !errors.Is(err, jetstream.ErrBucketNotFound) || o.External {
		return kv, bucketError(Recipients, err)
	}
	kv, err = js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: Recipients, Description: "A key for each address that receives: the SHA-256 of the address.",
		History: 1, Storage: jetstream.FileStorage, Replicas: max(o.Replicas, 1),
	})
	return kv, bucketError(Recipients, err)
}

func bucketError(name string, err error) error {
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	return nil
}

// EnsureAll is [Ensure] for every role. It also creates the partitions' consumers, which
// dispatchers otherwise create for the partitions that they own, and the buckets.
func EnsureAll(ctx context.Context, js jetstream.JetStream, o Options) error {
	o.Role, o.External = Everything, false
	if err := Ensure(ctx, js, o); err != nil {
		return err
	}
	for p := range events.Partitions {
		if _, err := consumer(ctx, js, Deliveries, PartitionConsumer(p), false); err != nil {
			return err
		}
	}
	if err := EnsureObjects(ctx, js, o); err != nil {
		return err
	}
	_, err := EnsureRecipients(ctx, js, o)
	return err
}
