package mailauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/fanmail-dev/fanmail/events/email"
)

// Limits of what is verified. Beyond them the verifier's cost grows with the
// square of the size.
const (
	maxSignatures     = 8
	maxSignatureBytes = 8 << 10
	maxSignedHeader   = 256 << 10
	maxSignedFields   = 1000
	maxSignedField    = 64 << 10
	maxEmptyLines     = 64 << 10 // bytes of line ends in a row
	// maxKeyRecord bounds a key record: 16,384 bits of RSA in base64 and some tags.
	maxKeyRecord = 4 << 10
)

const signatureField = "dkim-signature"

// checkDKIM verifies the signatures from the top, each by itself. more says
// that there are further ones.
func checkDKIM(ctx context.Context, r *resolver, raw []byte) (out []email.DKIM, more bool) {
	fields, body := splitRaw(raw)
	var signatures []int
	for i, f := range fields {
		if name, _, ok := bytes.Cut(f, []byte{':'}); ok && strings.EqualFold(string(bytes.TrimSpace(name)), signatureField) {
			if len(signatures) == maxSignatures {
				more = true
				break
			}
			signatures = append(signatures, i)
		}
	}
	out = make([]email.DKIM, len(signatures))
	if len(out) == 0 {
		return out, more
	}
	unfit := tooCostly(fields, body)
	var wg sync.WaitGroup
	for n, i := range signatures {
		if reason := unfit; reason != "" || len(fields[i]) > maxSignatureBytes {
			if reason == "" {
				reason = fmt.Sprintf("the signature has over %d bytes", maxSignatureBytes)
			}
			out[n] = email.DKIM{Result: email.PermError, Reason: reason}
			continue
		}
		wg.Go(func() { out[n] = verify(ctx, r, fields, i, body) })
	}
	wg.Wait()
	return out, more
}

// splitRaw gives the header's fields as they are, folds and line ends
// included, and the body.
func splitRaw(raw []byte) (fields [][]byte, body []byte) {
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line = raw[:i+1]
		}
		raw = raw[len(line):]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return fields, raw
		}
		if n := len(fields); n > 0 && (line[0] == ' ' || line[0] == '\t') {
			last := fields[n-1]
			fields[n-1] = last[:len(last)+len(line)] // they lie side by side
			continue
		}
		fields = append(fields, line)
	}
	return fields, nil
}

// tooCostly says why a mail is not verified; "" where it is.
func tooCostly(fields [][]byte, body []byte) string {
	size := 0
	for _, f := range fields {
		if size += len(f); len(f) > maxSignedField {
			return fmt.Sprintf("a header field has over %d bytes", maxSignedField)
		}
	}
	switch {
	case size > maxSignedHeader:
		return fmt.Sprintf("the header has over %d bytes", maxSignedHeader)
	case len(fields) > maxSignedFields:
		return fmt.Sprintf("the header has over %d fields", maxSignedFields)
	}
	empty := 0
	for _, c := range body {
		if c != '\r' && c != '\n' {
			empty = 0
		} else if empty++; empty > maxEmptyLines {
			return fmt.Sprintf("the body has over %d bytes of empty lines", maxEmptyLines)
		}
	}
	return ""
}

// verify verifies the signature that is field i.
func verify(ctx context.Context, r *resolver, fields [][]byte, i int, body []byte) (v email.DKIM) {
	defer broke(&v.Result, &v.Reason)
	// The library verifies the first signature that it meets. That a signature
	// moves above its kind changes nothing: what it signs is counted from below.
	parts := make([]io.Reader, 0, len(fields)+2)
	parts = append(parts, bytes.NewReader(fields[i]))
	for j, f := range fields {
		if j != i {
			parts = append(parts, bytes.NewReader(f))
		}
	}
	parts = append(parts, strings.NewReader("\r\n"), bytes.NewReader(body))
	tags := signatureTags(fields[i])
	v.Domain, v.Selector = clean(ascii(tags["d"]), maxDomainBytes), clean(tags["s"], maxDomainBytes)
	// So that a check that ends before its signature was read says whose it was.
	if v.Identity = clean(tags["i"], maxIdentityBytes); v.Identity == "" && v.Domain != "" {
		v.Identity = "@" + v.Domain
	}
	done, err := dkim.VerifyWithOptions(&until{ctx, io.MultiReader(parts...)}, &dkim.VerifyOptions{
		MaxVerifications: 1,
		LookupTXT: func(name string) ([]string, error) {
			found, err := r.LookupTXT(ctx, name)
			for _, txt := range found {
				if len(txt) > maxKeyRecord {
					return nil, &net.DNSError{Err: fmt.Sprintf("the key record has over %d bytes", maxKeyRecord), Name: name, IsNotFound: true}
				}
			}
			return found, err
		},
	})
	if len(done) != 1 {
		// The reader ended with the time; nothing else makes it fail.
		v.Result, v.Reason = email.TempError, errSlow.Error()
		if err != nil && !errors.Is(err, errSlow) && ctx.Err() == nil {
			v.Result, v.Reason = email.PermError, clean(err.Error(), maxReasonBytes)
		}
		return v
	}
	switch err := done[0].Err; {
	case err == nil:
		v.Result = email.Pass
		return v
	case dkim.IsTempFail(err):
		v.Result, v.Reason = email.TempError, reason(err)
	case tags.has("l"):
		v.Result, v.Reason = email.Policy, "a signature of a part of the body (l=) is not accepted"
	case dkim.IsPermFail(err) && !done[0].Expiration.IsZero() && strings.Contains(err.Error(), "expired"):
		v.Result, v.Reason = email.Fail, reason(err) // it was sound once
	case dkim.IsPermFail(err):
		v.Result, v.Reason = email.PermError, reason(err)
	default:
		v.Result, v.Reason = email.Fail, reason(err)
	}
	return v
}

func reason(err error) string {
	return clean(strings.TrimPrefix(err.Error(), "dkim: "), maxReasonBytes)
}

// until reads until ctx ends.
type until struct {
	ctx context.Context //nolint:containedctx // a Reader has no other way to end
	r   io.Reader
}

func (u *until) Read(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(b)
}
