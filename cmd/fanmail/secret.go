package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// secretFile in DIR holds the signing secret of forwarded events, so that the
// receiver's configuration stays valid when the command is started again.
const secretFile = "listen-secret"

// listenSecret reads the secret. If there is none, it creates one.
func listenSecret(dir string) (string, error) {
	path := filepath.Join(dir, secretFile)
	b, err := os.ReadFile(path) //nolint:gosec // the user's own directory
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the signing secret: %w", err)
	}
	secret := signature.NewSecret()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("store the signing secret: %w", err)
	}
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("store the signing secret: %w", err)
	}
	return secret, nil
}

// listenSigner signs with the secret of [listenSecret].
func listenSigner(dir, secret string) (*signature.Signer, error) {
	signer, err := signature.NewSigner(secret)
	if err != nil {
		return nil, fmt.Errorf("the secret in %s: %w; delete the file to get a new secret", filepath.Join(dir, secretFile), err)
	}
	return signer, nil
}
