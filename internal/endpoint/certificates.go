package endpoint

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// DateFormat is how errors write a time, which is in UTC.
const DateFormat = "2006-01-02 15:04 UTC"

func (a *Auth) checkCertificate(now time.Time) error {
	for _, f := range a.texts(MTLS) {
		limit := MaxPEMBytes
		if f.value == &a.PrivateKey {
			limit = MaxKeyBytes
		}
		if len(*f.value) > limit {
			return fault("auth."+f.name, "has %d bytes; the limit is %d", len(*f.value), limit)
		}
	}
	chain, err := certificates(a.Certificate)
	if err != nil {
		return fault("auth.certificate", "%s", err)
	}
	if err := checkKey(a.PrivateKey); err != nil {
		return fault("auth.private_key", "%s", err)
	}
	if _, err := a.Pair(); errors.Is(err, errLargeKey) {
		return fault("auth.private_key", "%s", errLargeKey)
	} else if err != nil {
		return fault("auth.private_key", "does not belong to the first certificate of auth.certificate")
	}
	switch leaf := chain[0]; {
	case now.After(leaf.NotAfter):
		return fault("auth.certificate", "has expired on %s", leaf.NotAfter.UTC().Format(DateFormat))
	case now.Before(leaf.NotBefore):
		return fault("auth.certificate", "is not valid before %s", leaf.NotBefore.UTC().Format(DateFormat))
	}
	return nil
}

// Pair returns the client certificate with its key. The error shows neither.
func (a *Auth) Pair() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(a.Certificate), []byte(a.PrivateKey))
	if err != nil {
		return tls.Certificate{}, errors.New("the webhook's client certificate and its key do not fit")
	}
	if key, ok := pair.PrivateKey.(*rsa.PrivateKey); ok && key.N.BitLen() > MaxKeyBits {
		return tls.Certificate{}, errLargeKey
	}
	return pair, nil
}

var errLargeKey = fmt.Errorf("is an RSA key of more than %d bits, which is the limit", MaxKeyBits)

// Expired returns why a client certificate can't be used at a time, nil if it can.
func Expired(pair *tls.Certificate, now time.Time) error {
	if pair.Leaf != nil && now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("the webhook's client certificate has expired on %s; bring a new one", pair.Leaf.NotAfter.UTC().Format(DateFormat))
	}
	return nil
}

// checkKey says what is wrong with a private key in PEM.
func checkKey(text string) error {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return errors.New("is not PEM; it begins with -----BEGIN PRIVATE KEY-----")
	case strings.TrimSpace(string(rest)) != "" && !strings.HasPrefix(block.Type, "EC PARAM"):
		return errors.New("holds more than one PEM block; give the key alone")
	case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
		return errors.New("is encrypted with a passphrase; give the key without it, such as of \"openssl pkey -in key.pem\"")
	case !strings.HasSuffix(block.Type, "PRIVATE KEY") && !strings.HasPrefix(block.Type, "EC PARAM"):
		return errors.New("is PEM of something else than a private key")
	}
	return nil
}

// certificates parses a text of PEM certificates; there is at least one.
func certificates(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if len(out) == 0 {
				return nil, errors.New("is not PEM; it begins with -----BEGIN CERTIFICATE-----")
			}
			if strings.Contains(string(rest), "-----BEGIN") {
				return nil, fmt.Errorf("holds a PEM block after certificate %d that can't be read", len(out))
			}
			return out, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("holds a PEM block that is not a certificate")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate, number %d, that can't be read", len(out)+1)
		}
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > MaxCAKeyBits {
			return nil, fmt.Errorf("holds a certificate, number %d, with an RSA key of %d bits; the limit is %d", len(out)+1, key.N.BitLen(), MaxCAKeyBits)
		}
		out = append(out, cert)
	}
}

// Roots returns the certificates to trust: those of a pool, or of the system if it is
// nil, and those of a text in PEM.
func Roots(base *x509.CertPool, text string) (*x509.CertPool, error) {
	if len(text) > MaxPEMBytes {
		return nil, fmt.Errorf("has %d bytes; the limit is %d", len(text), MaxPEMBytes)
	}
	list, err := certificates(text)
	if err != nil {
		return nil, err
	}
	if base == nil {
		if base, err = x509.SystemCertPool(); err != nil {
			base = x509.NewCertPool()
		}
	} else {
		base = base.Clone()
	}
	for _, c := range list {
		base.AddCert(c)
	}
	return base, nil
}

func anyValid(text string, now time.Time) bool {
	list, _ := certificates(text)
	for _, c := range list {
		if !now.Before(c.NotBefore) && !now.After(c.NotAfter) {
			return true
		}
	}
	return false
}
