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

// Limits of the mails that are verified. The verifier's cost grows with the square of
// these sizes.
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

// checkDKIM verifies the first maxSignatures signatures from the top, each separately.
// more reports that there are further ones.
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
	refusal := tooCostly(fields, body)
	var wg sync.WaitGroup
	for n, i := range signatures {
		if reason := refusal; reason != "" || len(fields[i]) > maxSignatureBytes {
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

// splitRaw returns the header's fields unchanged, with folds and line ends, and the
// body.
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
			fields[n-1] = last[:len(last)+len(line)] // both are adjacent in raw
			continue
		}
		fields = append(fields, line)
	}
	return fields, nil
}

// tooCostly returns the limit that the mail exceeds; empty if it can be verified.
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

// verify verifies the signature in field i.
func verify(ctx context.Context, r *resolver, fields [][]byte, i int, body []byte) (v email.DKIM) {
	defer recoverPanic(&v.Result, &v.Reason)
	// The library verifies the first signature of the mail, so field i goes first. This changes
	// no result, because a signature counts the fields that it signs from the bottom.
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
	// A check that times out before it has read the signature still names the signer.
	if v.Identity = clean(tags["i"], maxIdentityBytes); v.Identity == "" && v.Domain != "" {
		v.Identity = "@" + v.Domain
	}
	done, err := dkim.VerifyWithOptions(&contextReader{ctx, io.MultiReader(parts...)}, &dkim.VerifyOptions{
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
		// Without a result, the reader failed: it fails only at the timeout.
		v.Result, v.Reason = email.TempError, errTimeout.Error()
		if err != nil && !errors.Is(err, errTimeout) && ctx.Err() == nil {
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
		v.Result, v.Reason = email.Fail, reason(err) // the signature was valid until it expired
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

// contextReader reads until ctx ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // io.Reader takes no context
	r   io.Reader
}

func (u *contextReader) Read(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(b)
}
