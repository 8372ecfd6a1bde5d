package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// lookupTimeout bounds the lookup of a domain's TXT record.
const lookupTimeout = 10 * time.Second

// maxLookups is how many records of its domains one tenant may have looked up at the
// same time, in each process.
const maxLookups = 4

// domain is a mail domain of a tenant.
type domain struct {
	Domain     string     `json:"domain" example:"example.com" doc:"In lower case and ASCII. '*' is every domain that no other tenant has; only an operator gives it."`
	VerifiedAt *time.Time `json:"verified_at" doc:"null until it is verified. The tenant can have agents on a verified domain and on its subdomains."`
	Record     dnsRecord  `json:"record" doc:"The DNS record that proves the domain."`
	CreatedAt  time.Time  `json:"created_at"`
}

type dnsRecord struct {
	Type  string `json:"type" enum:"TXT"`
	Name  string `json:"name" example:"_fanmail.example.com"`
	Value string `json:"value" example:"fanmail-verify=…"`
}

func showDomain(d mailbox.Domain) domain {
	return domain{Domain: d.Name, VerifiedAt: d.VerifiedAt, Record: recordOf(d), CreatedAt: d.CreatedAt}
}

func recordOf(d mailbox.Domain) dnsRecord {
	return dnsRecord{Type: "TXT", Name: "_fanmail." + d.Name, Value: "fanmail-verify=" + d.Token}
}

type createDomainInput struct {
	Body struct {
		Domain   storedText      `json:"domain" doc:"Such as example.com."`
		TenantID events.TenantID `json:"tenant_id,omitempty" pattern:"^ten_[0-9a-fA-F]{32}$" doc:"For operators: the tenant that is given the domain, verified at once."`
	} `nameHint:"DomainSettings"`
}

// DomainPath has the name of a domain.
type DomainPath struct {
	Domain   storedText      `path:"domain" maxLength:"253"`
	TenantID events.TenantID `query:"tenant_id" doc:"For operators: the tenant."`
}

type listDomainsInput struct {
	Paging
	TenantID events.TenantID `query:"tenant_id" doc:"For operators: the tenant."`
}

func (s *server) domainRoutes() {
	register(s, anybody, huma.Operation{
		OperationID: "create-domain", Method: http.MethodPost, Path: "/v1/domains", DefaultStatus: http.StatusCreated,
		Summary: "Create a domain",
		Description: "A tenant's key adds a domain that is not verified; publish its `record` in DNS, then verify it within 7 days. " +
			"An operator's key gives a verified domain to the tenant `tenant_id`. A domain that the tenant has already is returned as it is.",
	}, s.createDomain)
	register(s, anybody, huma.Operation{
		OperationID: "list-domains", Method: http.MethodGet, Path: "/v1/domains", Summary: "List domains, sorted by name",
	}, s.listDomains)
	register(s, anybody, huma.Operation{
		OperationID: "get-domain", Method: http.MethodGet, Path: "/v1/domains/{domain}", Summary: "Read a domain",
	}, s.getDomain)
	register(s, anybody, huma.Operation{
		OperationID: "verify-domain", Method: http.MethodPost, Path: "/v1/domains/{domain}/verify", Summary: "Verify a domain by its DNS record",
		Description: "Looks up the TXT record. It is a 409 if the record is not found, or if another tenant has verified the domain, or released it or one above it less than 30 days ago. " +
			fmt.Sprintf("One tenant verifies at most %d domains at the same time; one more is a 429.", maxLookups),
	}, s.verifyDomain)
	register(s, anybody, huma.Operation{
		OperationID: "delete-domain", Method: http.MethodDelete, Path: "/v1/domains/{domain}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete a domain", Description: "It is a 409 while the tenant has agents on the domain. Other tenants can't have it, or agents and domains below it, for 30 days.",
	}, s.deleteDomain)
}

// tenantOf returns the tenant of a request: the caller's own, or the one that an
// operator names.
func tenantOf(ctx context.Context, place string, named events.TenantID) (events.TenantID, error) {
	me := caller(ctx)
	if me.Operator() {
		if named.IsZero() {
			return named, fault(place, "is required with an operator's key")
		}
		return named, nil
	}
	if !named.IsZero() && named != me.TenantID {
		return named, subscribers.ErrNotFound
	}
	return me.TenantID, nil
}

func (s *server) createDomain(ctx context.Context, in *createDomainInput) (*body[domain], error) {
	of, err := tenantOf(ctx, "body.tenant_id", in.Body.TenantID)
	if err != nil {
		return nil, err
	}
	operator := caller(ctx).Operator()
	name := string(in.Body.Domain)
	if name != mailbox.EveryDomain || !operator {
		if name, err = mailbox.CleanDomain(name); err != nil {
			return nil, err
		}
	}
	var d mailbox.Domain
	if !operator {
		if d, err = mailbox.GetDomain(ctx, s.pool, of, name); err == nil {
			return reply(showDomain(d)), nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return nil, err
		}
	}
	err = s.change(ctx, func(u *unit) (err error) {
		if operator {
			d, err = mailbox.GiveDomain(ctx, u, of, name)
			u.became(showDomain(d))
			return err
		}
		err = s.room(ctx, u, of, "domains", s.quotaOf(ctx).Domains, func(ctx context.Context, u *unit) (int64, error) {
			return mailbox.CountDomains(ctx, u, of)
		})
		if err != nil {
			return err
		}
		d, err = mailbox.ClaimDomain(ctx, u, of, name)
		u.became(showDomain(d))
		return err
	})
	if err != nil {
		return nil, domainFault(err)
	}
	return reply(showDomain(d)), nil
}

func (s *server) listDomains(ctx context.Context, in *listDomainsInput) (*body[list[domain]], error) {
	of, err := tenantOf(ctx, "query.tenant_id", in.TenantID)
	if err != nil {
		return nil, err
	}
	return namedPage(&in.Paging, func(d domain) string { return d.Domain }, showDomain, func(after string, limit int) ([]mailbox.Domain, bool, error) {
		list, err := mailbox.ListDomains(ctx, s.pool, of, after, limit)
		return list, false, err
	})
}

// named returns the tenant and the stored name of a path's domain.
func (in *DomainPath) named(ctx context.Context) (events.TenantID, string, error) {
	of, err := tenantOf(ctx, "query.tenant_id", in.TenantID)
	if err != nil || string(in.Domain) == mailbox.EveryDomain {
		return of, string(in.Domain), err
	}
	name, err := mailbox.CleanDomain(string(in.Domain))
	if err != nil {
		return of, "", subscribers.ErrNotFound
	}
	return of, name, nil
}

func (s *server) getDomain(ctx context.Context, in *DomainPath) (*body[domain], error) {
	of, name, err := in.named(ctx)
	if err != nil {
		return nil, err
	}
	d, err := mailbox.GetDomain(ctx, s.pool, of, name)
	if err != nil {
		return nil, err
	}
	return reply(showDomain(d)), nil
}

func (s *server) verifyDomain(ctx context.Context, in *DomainPath) (*body[domain], error) {
	of, name, err := in.named(ctx)
	if err != nil {
		return nil, err
	}
	d, err := mailbox.GetDomain(ctx, s.pool, of, name)
	if err != nil {
		return nil, err
	}
	if d.VerifiedAt == nil {
		if !s.lookups.open(of, maxLookups) {
			return nil, huma.ErrorWithHeaders(problem(http.StatusTooManyRequests,
				"this tenant verifies %d domains already, which is the limit at one time; try again when one of them is done", maxLookups),
				http.Header{"Retry-After": {"1"}})
		}
		err = s.prove(ctx, recordOf(d))
		s.lookups.close(of)
		if err != nil {
			return nil, err
		}
	}
	err = s.change(ctx, func(u *unit) (err error) {
		u.was(showDomain(d))
		d, err = mailbox.VerifyDomain(ctx, u, of, name)
		u.became(showDomain(d))
		return err
	})
	if err != nil {
		return nil, domainFault(err)
	}
	return reply(showDomain(d)), nil
}

// prove looks up a record. What a resolver says beyond "found or not" is for the
// operator's log.
func (s *server) prove(ctx context.Context, r dnsRecord) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lookupTimeout, fmt.Errorf("no answer within %s", lookupTimeout))
	defer cancel()
	values, err := s.resolver.LookupTXT(ctx, r.Name+".")
	if slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) == r.Value }) {
		return nil
	}
	var dns *net.DNSError
	if err != nil && !(errors.As(err, &dns) && dns.IsNotFound) {
		s.log.Warn("looking up a domain's record failed", zap.String("name", r.Name), zap.Error(err))
		return problem(http.StatusConflict, "the record could not be looked up: try again later")
	}
	return problem(http.StatusConflict, "DNS has no TXT record %s with the value %s; a new record may take as long as the old one's time to live", r.Name, r.Value)
}

func (s *server) deleteDomain(ctx context.Context, in *DomainPath) (*struct{}, error) {
	of, name, err := in.named(ctx)
	if err != nil {
		return nil, err
	}
	return nil, domainFault(s.change(ctx, func(u *unit) error {
		before, err := mailbox.GetDomain(ctx, u, of, name)
		if err != nil {
			return err
		}
		u.was(showDomain(before))
		return mailbox.DeleteDomain(ctx, u, of, name)
	}))
}

func domainFault(err error) error {
	if errors.Is(err, mailbox.ErrDomainTaken) || errors.Is(err, mailbox.ErrDomainReleased) || errors.Is(err, mailbox.ErrDomainInUse) {
		return problem(http.StatusConflict, "%s", err)
	}
	return err
}

// resolver returns a resolver that asks one server, host:port, or the system's
// servers if it is empty.
func resolver(server string) *net.Resolver {
	if server == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}}
}
