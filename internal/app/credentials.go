package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// Credentials are the addresses and keys that `fanmail up` writes to
// DIR/credentials.json.
type Credentials struct {
	API         string `json:"api"`
	OperatorKey string `json:"operator_key"`
	TenantID    string `json:"tenant_id"`
	TenantKey   string `json:"tenant_key"`
	SMTP        string `json:"smtp"`
	NATSURL     string `json:"nats_url"`
	DatabaseURL string `json:"database_url"`
}

const (
	credentialsFile = "credentials.json"
	// previousFile holds the credentials of the last run until this run is ready:
	// credentials.json exists only while its addresses answer.
	previousFile = "credentials.previous.json"
)

// ReadCredentials reads DIR/credentials.json. The error wraps [os.ErrNotExist] if
// no `fanmail up` is ready in DIR.
func ReadCredentials(dir string) (Credentials, error) {
	return readCredentials(filepath.Join(dir, credentialsFile))
}

func readCredentials(path string) (Credentials, error) {
	var c Credentials
	b, err := os.ReadFile(path) //nolint:gosec // the user's own directory
	if err != nil {
		return c, fmt.Errorf("read the credentials: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("read the credentials in %s: %w", path, err)
	}
	return c, nil
}

// shelveCredentials renames the file of the last run and returns its content.
func shelveCredentials(dir string) (Credentials, error) {
	previous := filepath.Join(dir, previousFile)
	err := os.Rename(filepath.Join(dir, credentialsFile), previous)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Credentials{}, fmt.Errorf("shelve the last run's credentials: %w", err)
	}
	c, err := readCredentials(previous)
	if err != nil {
		return Credentials{}, nil //nolint:nilerr // absent or broken: new keys are created
	}
	return c, nil
}

// writeCredentials writes the file atomically. Only its owner can read it.
func writeCredentials(dir string, c Credentials) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the credentials: %w", err)
	}
	f, err := os.CreateTemp(dir, ".credentials-") // mode 0600
	if err != nil {
		return fmt.Errorf("write the credentials: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, credentialsFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write the credentials: %w", err)
	}
	_ = os.Remove(filepath.Join(dir, previousFile))
	return nil
}

// devTenant is the name of the tenant that `fanmail up` creates.
const devTenant = "dev"

// provision sets the keys and the tenant. It keeps those of the last run that
// still work.
func (c *Credentials) provision(ctx context.Context, pool *pgxpool.Pool, last Credentials) error {
	operator := &apiclient.Client{Base: c.API, Key: last.OperatorKey}
	err := refusedKey(operator.Do(ctx, http.MethodGet, "/v1/tenants", url.Values{"limit": {"1"}}, nil, nil), &last.OperatorKey)
	if err != nil {
		return fmt.Errorf("check the last run's operator key: %w", err)
	}
	if last.OperatorKey == "" {
		if last.OperatorKey, err = tenancy.BootstrapOperatorKey(ctx, pool); err != nil {
			return fmt.Errorf("make an operator key: %w", err)
		}
		operator.Key = last.OperatorKey
	}
	tenant := &apiclient.Client{Base: c.API, Key: last.TenantKey}
	err = refusedKey(tenant.Do(ctx, http.MethodGet, "/v1/webhooks", url.Values{"limit": {"1"}}, nil, nil), &last.TenantKey)
	if err != nil {
		return fmt.Errorf("check the last run's tenant key: %w", err)
	}
	if last.TenantKey == "" {
		if last.TenantID, err = findDevTenant(ctx, operator); err != nil {
			return err
		}
		var key struct{ Secret string }
		err := operator.Do(ctx, http.MethodPost, "/v1/keys", nil,
			map[string]string{"tenant_id": last.TenantID, "name": "fanmail up"}, &key)
		if err != nil {
			return fmt.Errorf("make a tenant key: %w", err)
		}
		last.TenantKey = key.Secret
	}
	// In development, one tenant has every domain, so that a newcomer need not prove one.
	err = operator.Do(ctx, http.MethodPost, "/v1/domains", nil, map[string]string{"tenant_id": last.TenantID, "domain": "*"}, nil)
	var p *apiclient.Problem
	if err != nil && !(errors.As(err, &p) && p.Status == http.StatusConflict) { // an operator gave it to another
		return fmt.Errorf("give every domain to the tenant: %w", err)
	}
	c.OperatorKey, c.TenantID, c.TenantKey = last.OperatorKey, last.TenantID, last.TenantKey
	return nil
}

// refusedKey clears a key that the server rejects. It returns all other errors.
func refusedKey(err error, key *string) error {
	var p *apiclient.Problem
	if errors.As(err, &p) && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden) {
		*key = ""
		return nil
	}
	return err
}

// findDevTenant returns the tenant of an earlier run in the same database. If
// there is none, it creates one.
func findDevTenant(ctx context.Context, operator *apiclient.Client) (string, error) {
	type tenant struct{ ID, Name string }
	query := url.Values{"limit": {"100"}}
	for {
		var page struct {
			Data       []tenant
			NextCursor *string `json:"next_cursor"`
		}
		if err := operator.Do(ctx, http.MethodGet, "/v1/tenants", query, nil, &page); err != nil {
			return "", fmt.Errorf("look for the tenant %q: %w", devTenant, err)
		}
		for _, t := range page.Data {
			if t.Name == devTenant {
				return t.ID, nil
			}
		}
		if page.NextCursor == nil {
			break
		}
		query.Set("cursor", *page.NextCursor)
	}
	var made tenant
	if err := operator.Do(ctx, http.MethodPost, "/v1/tenants", nil, map[string]string{"name": devTenant}, &made); err != nil {
		return "", fmt.Errorf("make the tenant %q: %w", devTenant, err)
	}
	return made.ID, nil
}
