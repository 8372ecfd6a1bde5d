package kms

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tink-crypto/tink-go-awskms/v3/integration/awskms"
)

// Scheme begins the URL of a key.
const Scheme = "aws-kms://"

// Timeout bounds a request with its retries.
const Timeout = 5 * time.Second

// maxBytes is what AWS KMS encrypts in one request.
const maxBytes = 4096

// Key is a key of AWS KMS. Create one with [Parse]. It is safe for concurrent use, and
// holds no connection: requests are rare.
type Key struct {
	arn string
}

// key matches the ARNs of keys and of their aliases, in all partitions of AWS.
var key = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+$`)

// Parse reads the URL of a key. It sends nothing. The error does not show the URL.
func Parse(text string) (*Key, error) {
	arn, ok := strings.CutPrefix(text, Scheme)
	if !ok {
		return nil, errors.New("must be a key of AWS KMS, aws-kms://ARN; of another service, decrypt the keyset with its command-line tool into a file in memory, " +
			"and give that file alone, as --secrets-key-file (FANMAIL_SECRETS_KEY_FILE)")
	}
	if !key.MatchString(arn) {
		return nil, errors.New("must have the ARN of a key or an alias after aws-kms://, such as arn:aws:kms:eu-central-1:111122223333:key/ID")
	}
	return &Key{arn: arn}, nil
}

// EncryptWithContext encrypts up to 4,096 bytes. The error is an [*Error], except for a
// text that is too long.
func (k *Key) EncryptWithContext(ctx context.Context, plain, associated []byte) ([]byte, error) {
	if len(plain) > maxBytes {
		return nil, fmt.Errorf("the keyset has %d bytes, and AWS KMS encrypts %d at most, some 40 keys; delete earlier keys that no backup needs, with Tink's tinkey", len(plain), maxBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	aead, err := awskms.NewAEADWithContext(ctx, k.arn)
	if err != nil {
		return nil, classify(err)
	}
	sealed, err := aead.EncryptWithContext(ctx, plain, associated)
	return sealed, classify(err)
}

// DecryptWithContext decrypts what this key encrypted. The error is an [*Error].
func (k *Key) DecryptWithContext(ctx context.Context, sealed, associated []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	aead, err := awskms.NewAEADWithContext(ctx, k.arn)
	if err != nil {
		return nil, classify(err)
	}
	plain, err := aead.DecryptWithContext(ctx, sealed, associated)
	return plain, classify(err)
}

// The codes of faults, as the table of faults has them.
const (
	Away          = "kms away"
	NoCredentials = "kms credentials"
	Denied        = "kms denied"
	WrongKey      = "kms key"
)

// Error is why a request to the KMS failed.
type Error struct {
	Code  string // [Away], [NoCredentials], [Denied] or [WrongKey]
	Cause string // in the service's or the network's words, without a secret
}

// Error says what AWS KMS answered, or why it did not.
func (e *Error) Error() string { return "AWS KMS: " + e.Cause }

// Fault names the error's entry in the table of faults.
func (e *Error) Fault() (party, code string) { return "secrets", e.Code }

// Temporary reports whether waiting can end the fault.
func (e *Error) Temporary() bool { return e.Code == Away || e.Code == NoCredentials }

// answer is an error that the service sent, as the AWS SDK presents it.
type answer interface {
	error
	ErrorCode() string
	ErrorMessage() string
}

// classify keeps of an error only what cannot hold a secret.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var sent answer
	var request *url.Error
	switch {
	case errors.As(err, &sent):
		return answered(sent)
	case strings.Contains(err.Error(), "get credentials"), strings.Contains(err.Error(), "profile"):
		return &Error{NoCredentials, "this process has no AWS credentials"}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Away, fmt.Sprintf("no answer within %s", Timeout)}
	case errors.As(err, &request) && request.Op != "parse":
		return &Error{Away, request.Err.Error()} // without its URL
	}
	return &Error{Away, "the request could not be sent"}
}

// answered sorts the codes of KMS and of STS, which gives credentials to roles.
func answered(sent answer) error {
	switch code := sent.ErrorCode(); code {
	case "AccessDeniedException", "AccessDenied":
		cause := sent.ErrorMessage() // it names the caller and the right
		return &Error{Denied, code + ": " + cause[:min(len(cause), 300)]}
	case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException", "ExpiredTokenException", "ExpiredToken",
		"InvalidClientTokenId", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired", "InvalidIdentityToken", "NotAuthorizedException":
		return &Error{Denied, code}
	case "InvalidCiphertextException", "IncorrectKeyException", "NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException",
		"InvalidArnException", "ValidationException":
		return &Error{WrongKey, code}
	default:
		return &Error{Away, code}
	}
}
