package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/fanmail-dev/fanmail/internal/blobs"
)

// Config says where the bucket is.
type Config struct {
	Bucket string
	// Prefix is put before each key; "", or it ends in a slash.
	Prefix string
	// Endpoint is the server's URL without a path; nil: Amazon's of the region.
	Endpoint *url.URL
	// Region of the bucket; "" where the server has none.
	Region string
	// PathStyle puts the bucket into the path instead of the host's name.
	PathStyle bool
	// AccessKey and SecretKey; "": those of the environment, the AWS credentials file, or
	// the machine's role.
	AccessKey, SecretKey string
}

// Store is a bucket. Create one with [New].
type Store struct {
	c      minio.Core
	bucket string
	prefix string
}

// tries is how often a request is tried, with a pause of up to a second between two.
const (
	tries      = 3
	firstPause = 200 * time.Millisecond
	mostPause  = time.Second
)

// dialTimeout bounds the connection and its TLS handshake, and headerTimeout the wait
// for an answer after the request.
const (
	dialTimeout   = 5 * time.Second
	headerTimeout = 30 * time.Second
)

// New returns the store. It sends nothing.
func New(c Config) (*Store, error) {
	endpoint := &url.URL{Scheme: "https", Host: "s3.amazonaws.com"}
	if c.Region != "" {
		endpoint.Host = "s3." + c.Region + ".amazonaws.com"
	}
	if c.Endpoint != nil {
		endpoint = c.Endpoint
	}
	secure := endpoint.Scheme == "https"
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to S3: %w", err)
	}
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	transport.TLSHandshakeTimeout, transport.ResponseHeaderTimeout = dialTimeout, headerTimeout
	lookup := minio.BucketLookupAuto
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: creds(c), Secure: secure, Transport: transport, Region: c.Region, BucketLookup: lookup, MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to S3: %w", err)
	}
	return &Store{c: *core, bucket: c.Bucket, prefix: c.Prefix}, nil
}

func creds(c Config) *credentials.Credentials {
	if c.AccessKey != "" {
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

// Put is [blobs.Store.Put].
func (s *Store) Put(ctx context.Context, key string, content *io.SectionReader) error {
	return s.fault(ctx, "write", key, s.put(ctx, key, content, minio.PutObjectOptions{}))
}

// PutNew is [blobs.Store.PutNew].
func (s *Store) PutNew(ctx context.Context, key string, content *io.SectionReader) error {
	var o minio.PutObjectOptions
	o.SetMatchETagExcept("*")
	err := s.put(ctx, key, content, o)
	if minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed {
		return nil
	}
	return s.fault(ctx, "write", key, err)
}

// put tries to write. The library would read the same reader again for the next try, while the last one may still send
// it. It tries once what it can't seek, so each try has a reader of its own.
func (s *Store) put(ctx context.Context, key string, content *io.SectionReader, o minio.PutObjectOptions) error {
	o.ContentType, o.DisableMultipart = "application/octet-stream", true
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(mostPause), backoff.WithMaxElapsedTime(0))
	return backoff.Retry(func() error {
		b := &body{r: io.NewSectionReader(content, 0, content.Size())}
		defer b.end()
		_, err := s.c.Client.PutObject(ctx, s.bucket, s.prefix+key, b, content.Size(), o)
		if err != nil && !again(err) {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(backoff.WithMaxRetries(pause, tries-1), ctx))
}

// Open is [blobs.Store.Open].
func (s *Store) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if from > 0 {
		if err := o.SetRange(from, 0); err != nil {
			return nil, s.fault(ctx, "read", key, err)
		}
	}
	body, _, _, err := s.c.GetObject(ctx, s.bucket, s.prefix+key, o)
	if err != nil {
		return nil, s.fault(ctx, "read", key, err)
	}
	return body, nil
}

// Delete is [blobs.Store.Delete].
func (s *Store) Delete(ctx context.Context, key string) error {
	err := s.c.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	return s.fault(ctx, "delete", key, err)
}

// List is [blobs.Store.List].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for o := range s.c.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix}) {
			if o.Err != nil {
				yield("", s.fault(ctx, "list", prefix, o.Err))
				return
			}
			if !yield(strings.TrimPrefix(o.Key, s.prefix), nil) {
				return
			}
		}
	}
}

// Check is [blobs.Store.Check]. It lists at most one key: the answer to a HEAD request has
// no reason.
func (s *Store) Check(ctx context.Context) error {
	for o := range s.c.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, MaxKeys: 1}) {
		return s.fault(ctx, "reach", "", o.Err)
	}
	return nil
}

// fault returns the error of a request; nil for nil.
func (s *Store) fault(ctx context.Context, op, key string, err error) error {
	if err == nil {
		return nil
	}
	answer, answered := errors.AsType[minio.ErrorResponse](err)
	kind, why := blobs.Unreachable, err
	if sent, ok := errors.AsType[*url.Error](err); ok {
		why = sent.Err // without the URL
	}
	switch {
	case ctx.Err() != nil:
		why = context.Cause(ctx)
	case answered:
		kind = kindOf(answer)
		why = fmt.Errorf("the server answers %d %s: %s", answer.StatusCode, answer.Code, strings.TrimSuffix(answer.Message, "."))
	}
	return &blobs.Error{Op: op, Key: key, Kind: kind, Err: why}
}

func kindOf(answer minio.ErrorResponse) blobs.Kind {
	switch answer.Code {
	case minio.NoSuchBucket:
		return blobs.NoBucket
	case minio.NoSuchKey:
		return blobs.Missing
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "XAdminUserNotFound":
		return blobs.Denied
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage", "EntityTooLarge":
		return blobs.Full
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return blobs.Denied
	case http.StatusInsufficientStorage:
		return blobs.Full
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return blobs.Unreachable
	}
	return blobs.Other
}
