package app

import (
	"context"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/blobs/s3"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// Blobs configures where large raw mails are kept.
type Blobs struct {
	URL secret.Text `name:"blobs" env:"FANMAIL_BLOBS" placeholder:"URL" help:"Blob store for raw mails over 128 KiB: s3://KEY:SECRET@BUCKET/PREFIX?region=REGION&endpoint=URL, or file:///DIR. Without it the database takes all. Processes that only read need it too while mails are in it."`
}

// bucketName is what S3 and its relatives accept.
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`)

// open returns the store, or nil if none is set. It connects to nothing.
func (c *Blobs) open() (blobs.Store, error) {
	if c.URL == "" {
		return nil, nil
	}
	bad := func(why string) error { return wrong("--blobs", "FANMAIL_BLOBS", why) }
	u, err := c.URL.URL("s3", "file")
	if err != nil {
		return nil, bad(err.Error())
	}
	if u.Scheme == "file" {
		if u.Host != "" || u.User != nil || u.RawQuery != "" || !filepath.IsAbs(u.Path) {
			return nil, bad("must be file:// and the absolute path of a folder, such as file:///var/lib/fanmail/blobs")
		}
		return blobs.NewFolder(u.Path), nil
	}
	cfg, why := s3Config(u)
	if why != "" {
		return nil, bad(why)
	}
	store, err := s3.New(cfg)
	if err != nil {
		return nil, bad("has an endpoint that can't be used; it is a URL without a path, such as https://s3.example.com:9000")
	}
	return store, nil
}

// s3Config reads an s3 URL. why says what is wrong with it, without its text.
func s3Config(u *url.URL) (c s3.Config, why string) {
	c = s3.Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if c.Prefix != "" {
		c.Prefix += "/"
	}
	if !bucketName.MatchString(c.Bucket) {
		return c, "has no valid name of a bucket after s3:// or @; such a name has 3 to 63 lower-case letters, digits, dots and hyphens"
	}
	if u.User != nil {
		c.AccessKey = u.User.Username()
		if c.SecretKey, _ = u.User.Password(); c.AccessKey == "" || c.SecretKey == "" {
			return c, "must have both keys before the @, KEY:SECRET, or none"
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, "has parameters that are not percent-encoded"
	}
	for name, values := range query {
		if len(values) != 1 {
			return c, "has a parameter twice"
		}
		switch value := values[0]; name {
		case "region":
			c.Region = value
		case "endpoint":
			e, err := url.Parse(value)
			if err != nil || (e.Scheme != "https" && e.Scheme != "http") || e.Host == "" || strings.Trim(e.Path, "/") != "" || e.User != nil {
				return c, "has an endpoint that is not a URL without a path, such as https://s3.example.com:9000"
			}
			c.Endpoint = e
		case "path_style":
			if value != "true" && value != "false" {
				return c, "has a path_style that is neither true nor false"
			}
		default:
			return c, "has a parameter other than endpoint, region and path_style"
		}
	}
	c.PathStyle = query.Get("path_style") == "true" || c.Endpoint != nil && query.Get("path_style") == ""
	return c, ""
}

func (c *Blobs) validate() error {
	_, err := c.open()
	return err
}

// blobsName is the name of the component.
const blobsName = health.Blobs

// orphansEvery is the time between two removals of blobs that no mail needs.
const orphansEvery = time.Hour

// useBlobs opens the store and adds the component that checks it. While the store is
// away the process works: small mails need no store.
func (p *process) useBlobs(c Blobs) error {
	store, err := c.open()
	if err != nil {
		return err
	}
	m := newBlobMetrics(p.registry)
	if store == nil {
		return nil
	}
	owned := blobs.NewOwned(store, func(ctx context.Context) (string, error) { return mailbox.BlobOwner(ctx, p.pool) })
	w := &watchedBlobs{Store: owned, m: m, log: p.log.Named(blobsName), component: p.state.registry.Component(blobsName, false, 0)}
	p.blobs = w
	p.add(blobsName, w.run)
	return nil
}

// removeOrphans adds the component that removes blobs that no mail needs.
func (p *process) removeOrphans() {
	if p.blobs == nil {
		return
	}
	log := p.log.Named(blobsName)
	p.add("orphans", func(ctx context.Context) error {
		tick := time.NewTicker(orphansEvery)
		defer tick.Stop()
		for {
			done, err := mailbox.RemoveOrphans(ctx, p.pool, p.blobs)
			p.blobs.m.removed.Add(float64(done.Removed))
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil:
				log.Warn("blobs that no mail needs stay for another hour", zap.Error(err))
			case done.Removed > 0:
				log.Info("removed blobs that no mail needs", zap.Int64("removed", done.Removed), zap.Int64("seen", done.Seen))
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

// blobStore is the process's store as an interface: nil if there is none.
func (p *process) blobStore() blobs.Store {
	if p.blobs == nil {
		return nil
	}
	return p.blobs
}
