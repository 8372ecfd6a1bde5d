package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fanmail-dev/fanmail/test/dnstest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// Handshakes are what the HTTPS endpoints with names saw.
type Handshakes struct {
	// Full and Resumed are the TLS handshakes. Each is a connection.
	Full    int `json:"full"`
	Resumed int `json:"resumed"`
	// Questions are those that the DNS server was asked.
	Questions int `json:"dns_questions"`
}

func (h Handshakes) minus(before Handshakes) Handshakes {
	return Handshakes{h.Full - before.Full, h.Resumed - before.Resumed, h.Questions - before.Questions}
}

func (h *Handshakes) add(more Handshakes) {
	h.Full, h.Resumed, h.Questions = h.Full+more.Full, h.Resumed+more.Resumed, h.Questions+more.Questions
}

// secured is the side of the HTTPS endpoints in the receiver: a DNS server for the zone, and an authority that makes a
// certificate for each name.
type secured struct {
	dns           *dnstest.Server
	roots         string // the authority's file
	authority     *x509.Certificate
	key           *ecdsa.PrivateKey
	full, resumed atomic.Int64
	mu            sync.Mutex
	certificates  map[string]*tls.Certificate
}

// startSecured writes the authority's certificate below dir. The caller closes it.
func startSecured(dir string) (*secured, error) {
	s := &secured{roots: filepath.Join(dir, "receiver-ca.pem"), certificates: map[string]*tls.Certificate{}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	made, err := s.certify(template, template, nil)
	if err == nil {
		s.authority, s.key = made.Leaf, made.PrivateKey.(*ecdsa.PrivateKey)
		err = os.WriteFile(s.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.authority.Raw}), 0o600)
	}
	if err == nil {
		s.dns, err = dnstest.Start(func(name, kind string) ([]string, bool) {
			if !strings.HasSuffix(name, "."+zone) {
				return nil, false
			}
			if kind == "A" {
				return []string{"127.0.0.1"}, true
			}
			return nil, true
		})
	}
	if err != nil {
		return nil, fmt.Errorf("receiver: %w", err)
	}
	return s, nil
}

// certify makes a certificate that key signs; nil: its own key.
func (s *secured) certify(template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if key == nil {
		key = own
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own, Leaf: leaf}, err
}

// certificate is the one of a name, made at the first request.
func (s *secured) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		return nil, errors.New("the client names no server")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.certificates[hello.ServerName]; c != nil {
		return c, nil
	}
	c, err := s.certify(&x509.Certificate{
		SerialNumber: big.NewInt(int64(len(s.certificates) + 2)), Subject: pkix.Name{CommonName: hello.ServerName}, DNSNames: []string{hello.ServerName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, s.authority, s.key)
	if err == nil {
		s.certificates[hello.ServerName] = c
	}
	return c, err
}

// options are the sink's.
func (s *secured) options(idle time.Duration) sink.Options {
	return sink.Options{Keep: sink.KeepTimes, Idle: idle, TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: s.certificate, VerifyConnection: func(c tls.ConnectionState) error {
			if c.DidResume {
				s.resumed.Add(1)
			} else {
				s.full.Add(1)
			}
			return nil
		},
	}}
}

func (s *secured) handshakes() Handshakes {
	return Handshakes{Full: int(s.full.Load()), Resumed: int(s.resumed.Load()), Questions: s.dns.Asked()}
}
